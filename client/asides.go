package client

import (
	"sync/atomic"

	"trefoil/abstract"
)

// asides are operations inside interceptors that nobody waits for, each on a goroutine of
// its own. Safe for concurrent use.
type asides struct {
	tasks
	most int64 // at the same time
	n    atomic.Int64
}

// begin runs fn. The error is that there are too many, or after close, closed.
func (a *asides) begin(fn func(), closed func() *abstract.Error) *abstract.Error {
	if a.n.Add(1) > a.most {
		a.n.Add(-1)
		e := abstract.Errorf(abstract.Overloaded, "%d are inside interceptors already; begin less at a time, or see WithMaxPending", a.most)
		e.Sent = abstract.SentNo
		return e
	}
	ended := func() { a.n.Add(-1) }
	if !a.run(func() { defer ended(); fn() }) {
		ended()
		return closed()
	}
	return nil
}
