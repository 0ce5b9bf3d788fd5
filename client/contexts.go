package client

import (
	"context"
	"sync"
)

// contexts cancels calls that nobody waits for when their callers' contexts end.
// Many calls mostly share a context, and one context.AfterFunc for all of them
// costs a fraction of one for each. Safe for concurrent use.
type contexts struct {
	mu     sync.Mutex
	groups map[<-chan struct{}]*group
}

// group is the calls of one context.
type group struct {
	ctx   context.Context
	calls *call // a list
	stop  func() bool
}

// keptGroups is how many contexts are watched on although no call of theirs is in
// flight: their next call is then as cheap as the one before.
const keptGroups = 64

// add watches ctx for c, which is not watched yet.
func (w *contexts) add(ctx context.Context, c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.groups[ctx.Done()]
	if g == nil {
		if w.groups == nil {
			w.groups = make(map[<-chan struct{}]*group)
		}
		g = &group{ctx: ctx}
		g.stop = context.AfterFunc(ctx, func() { w.ended(g) })
		w.groups[ctx.Done()] = g
	}
	c.group, c.next = g, g.calls
	if g.calls != nil {
		g.calls.prev = c
	}
	g.calls = c
}

// remove ends the watching for a call that was added; more than once does no harm.
func (w *contexts) remove(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := c.group
	if g == nil {
		return
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		g.calls = c.next
	}
	c.group, c.prev, c.next = nil, nil, nil
	if g.calls == nil && len(w.groups) > keptGroups {
		w.drop(g)
		g.stop()
	}
}

// drop forgets a group, with the lock held.
func (w *contexts) drop(g *group) {
	if w.groups[g.ctx.Done()] == g {
		delete(w.groups, g.ctx.Done())
	}
}

// ended cancels the calls of a context that has ended.
func (w *contexts) ended(g *group) {
	for c := w.takeOne(g); c != nil; c = w.takeOne(g) {
		c.cancel(g.ctx.Err())
	}
}

func (w *contexts) takeOne(g *group) *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(g) // who comes from here on gets a new one, which ends at once
	c := g.calls
	if c == nil {
		return nil
	}
	if g.calls = c.next; c.next != nil {
		c.next.prev = nil
	}
	c.group, c.prev, c.next = nil, nil, nil
	return c
}

// close ends all watching.
func (w *contexts) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.groups {
		g.stop()
	}
	w.groups = nil
}
