package client

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/requestor"
	"trefoil/concrete/message"
)

// call is one call from its first try to its one end. It never blocks: whatever
// it waits for calls it back.
type call struct {
	client     *RpcClient
	method     string
	params     message.Raw
	idempotent bool
	deadline   time.Time
	end        func(Reply, error)

	mu       sync.Mutex
	ended    bool
	attempts int
	tried    []string // instances that failed since all were tried
	last     *abstract.Error
	session  *session // of the try in flight
	pending  *requestor.Pending
	forget   func()      // takes back the wish for a session
	timer    *time.Timer // the deadline, while no session watches it
	unwatch  func() bool // ends the watching of the caller's context
}

// watch cancels the call when the caller's context ends.
func (c *call) watch(ctx context.Context) {
	if ctx.Done() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.unwatch = context.AfterFunc(ctx, func() { c.cancel(ctx.Err()) })
	}
}

// try looks for a session for the next attempt.
func (c *call) try() {
	forget := c.client.target.route(c, c.send)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.pending != nil || forget == nil {
		return // it has been routed already
	}
	c.forget = forget
	if c.timer == nil {
		c.timer = time.AfterFunc(time.Until(c.deadline), c.expire)
	}
}

// send sends the request on a session.
func (c *call) send(s *session, instance string, err error) {
	if err != nil {
		c.mu.Lock()
		e := asError(err)
		if c.last != nil && e.Code != abstract.Cancelled { // why an attempt failed says more than that there is no further one
			e = c.last
		}
		c.mu.Unlock()
		c.finish(Reply{}, e)
		return
	}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.attempts++
	c.forget, c.session, c.pending = nil, s, nil
	attempt := c.attempts
	c.mu.Unlock()

	p := s.begin(c.deadline, abstract.RspRPC, c.request, func(m abstract.BaseMessage, err error) {
		c.answered(instance, m, err)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended: // cancelled before there was a pending call to cancel
		if p != nil {
			go s.requests.Cancel(p, context.Canceled)
		}
	case c.attempts == attempt && c.session == s:
		c.pending = p
	}
}

// failed notes that an instance could not be reached, and tries the next one.
func (c *call) failed(instance string, e *abstract.Error) {
	c.mu.Lock()
	c.attempts++
	d := *e
	d.Instance = instance
	c.last, c.forget = &d, nil
	c.tried = append(c.tried, instance)
	again := !c.ended && time.Now().Before(c.deadline)
	c.mu.Unlock()
	if again {
		c.client.later(0, c.try)
		return
	}
	c.finish(Reply{}, &d)
}

// failedAt says whether an instance has failed this call since all were tried.
func (c *call) failedAt(instance string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.tried, instance)
}

// startOver forgets which instances have failed.
func (c *call) startOver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried = nil
}

// request builds the message of one attempt.
func (c *call) request(id string) abstract.BaseMessage {
	left := max(1, int64(time.Until(c.deadline)/time.Millisecond))
	return &message.RpcRequest{Header: message.ID(id), Method: c.method, Parameters: c.params, TimeoutMs: left}
}

// answered takes the end of one attempt.
func (c *call) answered(instance string, m abstract.BaseMessage, err error) {
	if err == nil {
		rsp := m.(*message.RpcResponse)
		if rsp.Code == abstract.OK {
			c.mu.Lock()
			attempts := c.attempts
			c.mu.Unlock()
			c.finish(Reply{Raw: rsp.Result, Instance: instance, Attempts: attempts}, nil)
			return
		}
		e := refused("", rsp.Code, rsp.Message, instance)
		e.Details = rsp.Details
		err = e
	}
	e := *asError(err)
	e.Instance = instance
	c.mu.Lock()
	c.session, c.pending = nil, nil
	c.last = &e
	again := !c.ended && c.mayRepeat(&e)
	if again {
		c.tried = append(c.tried, instance)
	}
	c.mu.Unlock()
	if !again {
		c.finish(Reply{}, &e)
		return
	}
	if c.client.movable() {
		c.client.later(0, c.try)
	} else { // the same server again: give it time to come back
		c.client.later(jitter(pauseAfterAll), c.try)
	}
}

// mayRepeat says whether another attempt can do no harm: when the request never
// left, when the peer refused it before doing anything, or when the method is
// idempotent.
func (c *call) mayRepeat(e *abstract.Error) bool {
	if time.Now().After(c.deadline) || c.client.ctx.Err() != nil {
		return false
	}
	switch e.Code {
	case abstract.Disconnected, abstract.Unavailable:
		return e.Sent == abstract.SentNo || c.idempotent
	case abstract.Draining:
		return true
	case abstract.ServiceNotFound:
		return e.FromPeer && c.client.movable()
	}
	return false
}

// cancel ends the call because the caller gave up.
func (c *call) cancel(cause error) {
	c.mu.Lock()
	s, p := c.session, c.pending
	c.mu.Unlock()
	if p != nil {
		s.requests.Cancel(p, cause)
		return
	}
	c.finish(Reply{}, &abstract.Error{Code: abstract.CodeOf(cause), Message: "the caller gave up", Err: cause, Sent: c.fate()})
}

// expire ends the call at its deadline while it waits for a session.
func (c *call) expire() {
	c.mu.Lock()
	if c.pending != nil { // the session ends it
		c.mu.Unlock()
		return
	}
	last := c.last
	c.mu.Unlock()
	e := &abstract.Error{Code: abstract.Unavailable, Message: "no connection to a provider before the deadline", Sent: c.fate()}
	if last != nil {
		e.Err = last
	}
	c.finish(Reply{}, e)
}

// fate says whether the request of a call that is not in flight has left.
func (c *call) fate() abstract.Sent {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.session != nil:
		return abstract.SentUnknown // just being sent
	case c.last == nil:
		return abstract.SentNo
	}
	return c.last.Sent
}

// finish ends the call; only the first time counts.
func (c *call) finish(r Reply, e *abstract.Error) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	forget, unwatch, attempts := c.forget, c.unwatch, c.attempts
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	if forget != nil {
		forget()
	}
	if unwatch != nil {
		unwatch()
	}
	if e == nil {
		c.end(r, nil)
		return
	}
	if e.Instance == "" && c.last != nil {
		e.Instance = c.last.Instance
	}
	c.end(Reply{}, decorate(e, "call "+c.method, attempts, e.Instance))
}

// later runs fn after a pause, on another goroutine than the one that reads a
// connection.
func (c *RpcClient) later(pause time.Duration, fn func()) {
	if pause > 0 {
		time.AfterFunc(pause, fn)
		return
	}
	if !c.callbacks.Go(fn) {
		go fn()
	}
}

// movable says whether a call can go to another provider.
func (c *RpcClient) movable() bool {
	_, fixed := c.target.(direct)
	return !fixed
}

// direct is the target of a client that calls one server.
type direct struct{ conn *Conn }

func (d direct) route(c *call, fn func(*session, string, error)) (forget func()) {
	return d.conn.acquire(func(s *session, err error) { fn(s, d.conn.addr, err) })
}

func (d direct) close() {}

// jitter is a random time up to limit.
func jitter(limit time.Duration) time.Duration { return rand.N(limit) + 1 }
