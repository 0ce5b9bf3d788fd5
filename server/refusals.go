package server

import (
	"sync/atomic"
	"time"

	"trefoil/abstract"
)

// refusals are the requests that were refused for want of a permission. The log gets a
// line for all of a second: who asks for a thousand things must not fill it.
type refusals struct {
	count atomic.Int64 // since the last line
	first atomic.Pointer[refusal]
}

type refusal struct {
	peer, identity string
	err            error
}

// note counts a refusal.
func (r *refusals) note(c *conn, err error) {
	r.count.Add(1)
	if r.first.Load() == nil {
		r.first.CompareAndSwap(nil, &refusal{c.name(), c.identity(), err})
	}
}

// tellRefusals logs what was refused since it did so last.
func (ep *endpoint) tellRefusals(time.Time) {
	first := ep.refusals.first.Swap(nil)
	if first == nil {
		return
	}
	n := ep.refusals.count.Swap(0)
	ep.logs.conn.Warn("requests refused, the permission is missing", "refused", n, "peer", first.peer, "identity", first.identity, "err", first.err)
}

// overdue is why a peer may not stay that has not said yet what it wants, where
// somebody asks who it is; nil: it may. Whoever only holds connections would else hold
// them for nobody's account, and for ever.
func (c *conn) overdue(now time.Time) error {
	most := c.ep.limits.Load().FrameTimeout
	if now.Sub(c.opened) <= most {
		return nil
	}
	return abstract.Errorf(abstract.Timeout, "the peer has not sent its first message within %s", most)
}
