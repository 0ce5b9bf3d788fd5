package stream

import "sync/atomic"

// Budget bounds bytes that are kept for many. Safe for concurrent use; nil bounds nothing.
type Budget struct {
	limit int64
	used  atomic.Int64
}

// NewBudget makes a Budget of so many bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Take takes bytes of it, all or none; false: there are not as many left. Below 0, it
// gives them back.
func (b *Budget) Take(bytes int64) bool {
	if b == nil || bytes == 0 {
		return true
	}
	if b.used.Add(bytes) > b.limit && bytes > 0 {
		b.used.Add(-bytes)
		return false
	}
	return true
}
