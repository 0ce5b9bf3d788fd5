package server

import (
	"sync"

	"trefoil/concrete/message"
)

// canceller is a call that its caller can end with CANCEL.
type canceller interface {
	// cancelled is called at most once for each CANCEL. It must not block.
	cancelled()
}

// cancellables are the calls of one connection that can be cancelled: those on
// workers, those whose turn was passed on, and those that are under way elsewhere. A
// handler inside its turn is not among them: as long as it holds up the turn,
// nothing of the connection is read, and no CANCEL comes.
type cancellables struct {
	mu   sync.Mutex
	byID map[string]canceller // nil until there is one
}

// enter adds a call. Its id must not be changed until leave. Of two calls with one
// id, the later is cancelled.
func (c *cancellables) enter(id string, call canceller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = make(map[string]canceller)
	}
	c.byID[id] = call
}

// leave removes a call.
func (c *cancellables) leave(id string, call canceller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID[id] != call {
		return
	}
	delete(c.byID, id)
	if len(c.byID) == 0 {
		c.byID = nil // the memory of a burst does not stay
	}
}

// cancel cancels a call. One that has ended, or that never was, needs nothing.
func (c *cancellables) cancel(id string) {
	c.mu.Lock()
	call := c.byID[id]
	c.mu.Unlock()
	if call != nil {
		call.cancelled()
	}
}

// onCancel ends the context of a call.
func (t *turn) onCancel(m *message.Cancel) {
	if !t.conn.streams.cancel(m.ID()) {
		t.conn.cancellable.cancel(m.ID())
	}
}
