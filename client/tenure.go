package client

import (
	"sync"
	"time"

	"trefoil/concrete/message"
)

// tenure is the session that the broker has given a Conn: it lasts through lost
// connections, until nothing has been heard for too long. Nodes are bound to it.
type tenure struct {
	conn *Conn

	mu       sync.Mutex
	id       string // empty: none
	secret   string
	interval time.Duration
	misses   int
}

func (t *tenure) init(c *Conn) {
	t.conn = c
	c.wire.asks = t.ask
}

// ask says what HELLO asks for: the session that we have, or a new one.
func (t *tenure) ask() *message.SessionRequest {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &message.SessionRequest{ID: t.id, Secret: t.secret}
}

// met takes what the broker answered. A session that it does not go on with is over.
func (t *tenure) met(s *session) {
	g := s.granted
	t.mu.Lock()
	defer t.mu.Unlock()
	lost := t.id
	if g == nil {
		t.id, t.secret = "", ""
	} else {
		if g.Resumed {
			lost = ""
		}
		t.id, t.secret = g.ID, g.Secret
		t.interval, t.misses = time.Duration(g.IntervalMs)*time.Millisecond, g.Misses
	}
	if lost == "" || g != nil && lost == g.ID {
		return
	}
	t.conn.cfg.logger.Warn("session expired", "peer", t.conn.addr, "session", lost)
	for _, fn := range t.conn.cfg.onSessionExpired {
		t.conn.events.run(func() { fn(lost) })
	}
}

// SessionID is the id of the session that the broker has given this Conn, which its
// session nodes show as their owner; empty when it gave none.
func (c *Conn) SessionID() string {
	c.tenure.mu.Lock()
	defer c.tenure.mu.Unlock()
	return c.tenure.id
}
