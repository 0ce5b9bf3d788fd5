package client

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
	"trefoil/concrete/message"
)

// doorShut is for how long a provider that could not be connected to is called
// through the broker, before a direct connection is tried again.
const doorShut = 30 * time.Second

// byway is the way of calls through the broker.
type byway struct {
	conn   *Conn        // to the broker; nil: there is none
	closed atomic.Int64 // the broker passes no calls on, until then; nanoseconds since the providers began
}

// brokerOf returns the connection to a discovery's broker, or nil.
func brokerOf(d abstract.Discovery) *Conn {
	if own, ok := d.(*DiscoveryClient); ok {
		return own.conn
	}
	return nil
}

// open says whether calls that need not go through the broker may try to.
func (p *providers) bywayOpen(now time.Time) bool {
	if p.byway.conn == nil || int64(now.Sub(p.begun)) < p.byway.closed.Load() {
		return false
	}
	s := p.byway.conn.current.Load()
	return s != nil && s.modern()
}

// through says whether a call of a provider goes through the broker.
func (c *call) through(h *provider, now time.Time) bool {
	switch {
	case c.relay == RelayAlways:
		return true
	case c.relay == RelayNever || !h.info().Relay || h.shut.Load() == 0:
		return false
	}
	return h.current.Load() == nil && int64(now.Sub(h.owner.begun)) < h.shut.Load() && h.owner.bywayOpen(now)
}

// shuns says whether a call cannot go to a provider, or, if well is set, should not,
// for the way to it.
func (c *call) shuns(h *provider, now time.Time, well bool) bool {
	if c.relay == RelayAlways && !h.info().Relay {
		return true
	}
	return !c.through(h, now) && (h.gone.Load() || well && h.ailing(now))
}

// send sends a routing to a provider, one way or the other.
func (p *providers) send(w *routing, h *provider) {
	if !w.call.through(h, time.Now()) {
		h.acquire(w)
		return
	}
	if p.byway.conn == nil {
		w.fn(nil, "", &abstract.Error{Code: abstract.Unsupported, Message: "calls through the broker need a client that finds providers with a DiscoveryClient", Sent: abstract.SentNo})
		return
	}
	forget := p.byway.conn.acquire(func(s *session, err error) {
		if err == nil && !s.modern() {
			err = &abstract.Error{Code: abstract.Unsupported, Message: "this broker is an existing program, and passes no calls on; call the provider directly", Sent: abstract.SentNo}
		}
		w.fn(s, h.addr, err)
	})
	w.undo.Store(&forget)
}

// fallBack lets a call that has failed at every provider try those again, through the
// broker, that could not be connected to. It returns false when there is none. It is
// called with the lock held.
func (p *providers) fallBack(c *call, now time.Time) bool {
	if c.relay != RelayAuto || !p.bywayOpen(now) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.relayRound != c.rounds { // all were asked again since
		c.relayRound, c.relayTo = c.rounds, nil
	}
	before := len(c.relayTo)
	rest := make([]*provider, 0, len(c.tried))
	for _, h := range c.tried {
		if !h.info().Relay || !h.unreached() || slices.Contains(c.relayTo, h) {
			rest = append(rest, h)
			continue
		}
		h.shut.Store(int64(now.Add(doorShut).Sub(p.begun)))
		c.relayTo = append(c.relayTo, h)
	}
	c.tried = rest
	return len(c.relayTo) > before
}

// unreached says whether no connection to the provider could be opened when that was
// tried last.
func (h *provider) unreached() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current.Load() == nil && (h.problem != nil || h.slow)
}

// relayable says whether some provider of a method takes calls through the broker. It
// is called with the lock held.
func (r *route) relayable() bool {
	return slices.ContainsFunc(r.list, func(q *listed) bool { return q.entry.info().Relay })
}

// chooseRelayed is what choose does when there is nobody left to call directly.
func (p *providers) chooseRelayed(r *route, c *call, k balance.Call) (choice, *provider, error) {
	if p.fallBack(c, k.Now) {
		c.mu.Lock()
		tried := c.tried
		c.mu.Unlock()
		if chosen, h := p.choice(r, c, k, tried, false); h != nil {
			return chosen, h, nil
		}
	}
	if c.relay == RelayAlways && !r.relayable() {
		return choice{}, nil, &abstract.Error{Code: abstract.Unavailable, Message: "no provider of it takes calls through the broker; leave that to the client, or let one register that does", Sent: abstract.SentNo}
	}
	return choice{}, nil, r.nobody(k.Now)
}

// relayed says whether an attempt on a session goes through the broker.
func (c *call) relayed(at *provider, s *session) bool {
	if at == nil { // the peer is the only one there is
		return c.relay == RelayAlways
	}
	return s != nil && s.wire != at.owner.wire
}

// address makes the request of an attempt one that the broker passes on, if that is
// where it goes.
func (c *call) address(req *message.RpcRequest, at *provider, s *session) {
	if c.relayed(at, s) {
		req.Relay = true
		if at != nil {
			req.Instance = at.info().Instance
		}
	}
	if at == nil && c.extra.pinned() {
		req.Instance = c.extra.instance
	}
}

// byWay makes the error of an attempt say what is known of a request that went through
// the broker: that has answered does not mean that the provider got it.
func (c *call) byWay(e *abstract.Error, at *provider, s *session) {
	if !e.FromPeer || !c.relayed(at, s) {
		return
	}
	_ = message.Members(e.Details, func(name string, value message.Raw) bool { // where there are details
		if name == "sent" {
			switch strings.Trim(string(value), `"`) {
			case abstract.SentNo.String():
				e.Sent = abstract.SentNo
			case abstract.SentUnknown.String():
				e.Sent = abstract.SentUnknown
			}
		}
		return true
	})
	if e.Code == abstract.Unsupported && e.Sent == abstract.SentNo && at != nil {
		at.owner.byway.closed.Store(int64(time.Since(at.owner.begun) + doorShut))
	}
}

// notRelayed says whether an attempt has failed only because the broker passes no
// calls on, which others need not.
func (c *call) notRelayed(e *abstract.Error) bool {
	return c.relay == RelayAuto && e.Code == abstract.Unsupported && e.Sent == abstract.SentNo
}

// takeBack takes back a routing's wish for the broker's session.
func (w *routing) takeBack() {
	if undo := w.undo.Load(); undo != nil {
		(*undo)()
	}
}
