package link

import (
	"context"
	"sync"

	"trefoil/abstract"
)

// group is the set of connections that a server holds.
type group struct {
	mu     sync.Mutex
	conns  map[*Conn]struct{}
	max    int
	closed bool
	empty  chan struct{} // closed when closed and the last connection has ended
}

// add puts c in. ok is false when the group is closed or full; full says which.
func (g *group) add(c *Conn) (ok, full bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false, false
	}
	if len(g.conns) >= g.max {
		return false, true
	}
	if g.conns == nil {
		g.conns = make(map[*Conn]struct{})
	}
	g.conns[c] = struct{}{}
	return true, false
}

func (g *group) remove(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
	if g.closed && len(g.conns) == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// close lets nobody in any more, and returns who is there.
func (g *group) close() []*Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	conns := make([]*Conn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
	}
	return conns
}

// wait returns nil when the last connection of a closed group has ended.
func (g *group) wait(ctx context.Context) error {
	g.mu.Lock()
	if len(g.conns) == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	empty, left := g.empty, len(g.conns)
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "shutdown", Err: ctx.Err(),
			Message: errLeft(left)}
	}
}
