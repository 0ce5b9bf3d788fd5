package client

import (
	"time"

	"trefoil/business/protect"
)

// direct is the target of a client that calls one server.
type direct struct {
	conn    *Conn
	budget  *protect.Budget
	breaker *protect.Breaker // nil: there is none
}

func newDirect(conn *Conn) *direct {
	now := time.Now()
	return &direct{conn: conn, budget: conn.cfg.retries.make(now), breaker: conn.cfg.newBreaker(now)}
}

func (d *direct) ready(c *call) (*session, string, bool) {
	c.adopt(d.budget)
	if d.breaker != nil {
		return nil, "", false // route asks it
	}
	s := d.conn.current.Load()
	return s, d.conn.addr, s != nil
}

func (d *direct) route(c *call, fn func(*session, string, error)) (forget func()) {
	if d.breaker != nil {
		now := time.Now()
		permit, ok := d.breaker.Allow(now)
		if !ok {
			fn(nil, "", errOpen(d.conn.addr, d.breaker.Again(now), now))
			return nil
		}
		c.choose(choice{breaker: d.breaker, permit: permit})
	}
	return d.conn.acquire(func(s *session, err error) { fn(s, d.conn.addr, err) })
}

func (d *direct) close() {}
