package server

import (
	"context"
	"sync"
	"time"

	"trefoil/abstract"
)

// callContext is a handler's context. Most handlers never look at it, so its
// timer and channel are only made when somebody asks for Done.
type callContext struct {
	context.Context           // the connection's
	deadline        time.Time // zero when the caller named none
	conn            *conn     // the caller's; nil: there is none
	meta            abstract.Metadata

	mu     sync.Mutex
	lazy   context.Context // made by the first Done, and when the call is cancelled
	cancel context.CancelCauseFunc
	over   bool // the handler has returned
}

var _ abstract.CallContext = (*callContext)(nil)

// Deadline returns the caller's deadline.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// CallDeadline returns the caller's deadline.
func (c *callContext) CallDeadline() (time.Time, bool) { return c.Deadline() }

// Done is closed at the deadline, when the caller has cancelled the call or its
// connection is lost, and when the handler has returned.
func (c *callContext) Done() <-chan struct{} { return c.made().Done() }

// Err says why Done is closed.
func (c *callContext) Err() error {
	if lazy := c.ifMade(); lazy != nil {
		return lazy.Err()
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value returns what a context made of this one looks for: the call itself, or what
// the real context has, which is how package context finds a cause, or ends its
// children without a goroutine for each.
func (c *callContext) Value(key any) any {
	if _, ok := key.(abstract.CallKey); ok {
		return c
	}
	if v := c.belongs(key); v != nil {
		return v
	}
	lazy := c.ifMade()
	if lazy == nil && c.Err() != nil {
		lazy = c.made() // it knows the cause
	}
	if lazy != nil {
		return lazy.Value(key)
	}
	return c.Context.Value(key)
}

func (c *callContext) ifMade() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lazy
}

// made returns the real context behind this one.
func (c *callContext) made() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lazy == nil {
		c.make()
	}
	return c.lazy
}

// make is called with the lock held.
func (c *callContext) make() {
	c.lazy, c.cancel = context.WithCancelCause(c.Context)
	if !c.deadline.IsZero() {
		cancel := c.cancel
		timed, stop := context.WithDeadline(c.lazy, c.deadline)
		c.lazy, c.cancel = timed, func(cause error) { cancel(cause); stop() }
	}
	if c.over {
		c.cancel(nil)
	}
}

// cancelled ends the context because the caller does not want the answer any more.
func (c *callContext) cancelled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lazy == nil {
		c.make()
	}
	c.cancel(&abstract.Error{Code: abstract.Cancelled, Op: "serve", Message: "the caller has cancelled the call"})
}

// finish ends the context when the handler has returned.
func (c *callContext) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel(nil)
	}
}
