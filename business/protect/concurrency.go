package protect

import (
	"sync"
	"sync/atomic"
)

// Concurrency bounds how many calls are under way. The zero value, and nil, are no
// limit. Safe for concurrent use.
type Concurrency struct {
	limit atomic.Int64
	under atomic.Int64
}

// NewConcurrency makes a Concurrency; 0 is no limit.
func NewConcurrency(limit int) *Concurrency {
	c := new(Concurrency)
	c.SetLimit(limit)
	return c
}

// SetLimit changes the limit. Calls that are under way stay.
func (c *Concurrency) SetLimit(limit int) { c.limit.Store(int64(limit)) }

// Enter asks for a call. False: it must not be made. Else Leave must be told of its end.
func (c *Concurrency) Enter() bool {
	if c == nil {
		return true
	}
	for {
		limit, under := c.limit.Load(), c.under.Load()
		if limit > 0 && under >= limit {
			return false
		}
		if c.under.CompareAndSwap(under, under+1) {
			return true
		}
	}
}

// Leave ends a call.
func (c *Concurrency) Leave() {
	if c != nil {
		c.under.Add(-1)
	}
}

// Under is how many calls are under way.
func (c *Concurrency) Under() int { return int(c.under.Load()) }

// Concurrencies bounds what each identity has under way, or open: calls,
// connections, subscriptions. It remembers only those who have something. Make it
// with NewConcurrencies. Safe for concurrent use.
type Concurrencies struct {
	of func(identity string) int

	mu    sync.Mutex
	under map[string]int
}

// NewConcurrencies makes Concurrencies. of says an identity's limit, each time; 0 is
// none. It must not block.
func NewConcurrencies(of func(identity string) int) *Concurrencies {
	return &Concurrencies{of: of, under: make(map[string]int)}
}

// Enter asks for one more. False: there must not be. Else Leave must be told of its end.
func (c *Concurrencies) Enter(identity string) bool {
	limit := c.of(identity)
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.under[identity]
	if limit > 0 && n >= limit {
		return false
	}
	c.under[identity] = n + 1
	return true
}

// Leave ends one.
func (c *Concurrencies) Leave(identity string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.under[identity]; n > 1 {
		c.under[identity] = n - 1
	} else {
		delete(c.under, identity)
	}
}

// Under is how many an identity has.
func (c *Concurrencies) Under(identity string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.under[identity]
}
