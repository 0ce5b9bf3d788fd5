package client

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
	"trefoil/business/requestor"
	"trefoil/concrete/message"
)

// call is one call from its first attempt to its one end. It never blocks:
// whatever it waits for calls it back. All of a call is in one piece of memory,
// the request and the pending call of the first attempt included.
type call struct {
	client     *RpcClient
	begun      time.Time
	deadline   time.Time
	idempotent bool
	key        string // for the balancer
	req        message.RpcRequest
	text       []byte // memory of the request's parameters

	// Who is told of the end. fn is set before the call begins, the others when
	// somebody begins to wait, with mu held.
	wake chan struct{} // receives an element
	done chan struct{} // is closed
	fn   func(Reply, error)

	// What came of it; to be read after the end. err may be set before the
	// call begins.
	reply Reply
	err   error

	direct   bool      // there was a session at once, and the caller's goroutine sent the request
	picked   *provider // by the target, for its own use
	among    *balance.Group
	pick     balance.Pick // of the attempt under way, out of among; without Member: none
	attempts int          // of the attempts, one at a time
	instance string       // of the last attempt

	mu      sync.Mutex
	ended   bool
	first   requestor.Pending
	pending *requestor.Pending // of the attempt in flight
	session *session           // the same
	gaveUp  error              // the caller's reason
	tried   []string           // instances that failed since all were tried
	last    *abstract.Error
	forget  func()      // takes back the wish for a session
	timer   *time.Timer // the deadline, while no session watches it
	watched bool        // by the client's contexts, which own what follows
	group   *group
	prev    *call
	next    *call
}

var _ requestor.Waiter = (*call)(nil)

// start begins the call.
func (c *call) start(ctx context.Context) {
	switch {
	case c.err != nil:
		c.finish(Reply{}, asError(c.err))
		return
	case ctx.Err() != nil:
		c.finish(Reply{}, &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Message: "the context was over before the call", Sent: abstract.SentNo, Err: ctx.Err()})
		return
	}
	if s, instance, ok := c.client.target.ready(c); ok {
		c.direct = true
		c.launch(s, instance, budget(c.deadline.Sub(c.begun)))
		return
	}
	c.try()
}

// budget is what is left of a deadline, as a request says it: never 0, which
// would say that there is none.
func budget(left time.Duration) int64 { return max(1, int64(left/time.Millisecond)) }

// watch cancels the call when the caller's context ends.
func (c *call) watch(ctx context.Context) {
	if ctx.Done() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.watched = true
		c.client.contexts.add(ctx, c)
	}
}

// try looks for a session for the next attempt.
func (c *call) try() {
	forget := c.client.target.route(c, c.routed)
	if forget == nil {
		return // it has been routed already
	}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		forget() // nobody else will
		return
	}
	defer c.mu.Unlock()
	if c.pending != nil {
		return // the same
	}
	c.forget = forget
	if c.timer == nil {
		c.timer = time.AfterFunc(time.Until(c.deadline), c.expire)
	}
}

// routed takes a session, or the reason why there is none.
func (c *call) routed(s *session, instance string, err error) {
	if err == nil {
		c.launch(s, instance, budget(time.Until(c.deadline)))
		return
	}
	e := asError(err)
	c.mu.Lock()
	if c.last != nil && e.Code != abstract.Cancelled { // why an attempt failed says more than that there is no further one
		e = c.last
	}
	c.mu.Unlock()
	c.finish(Reply{}, e)
}

// launch sends the request on a session. Attempts after the first have a request of
// their own: the first may still be on its way out of here.
func (c *call) launch(s *session, instance string, timeoutMs int64) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.attempts++
	c.instance = instance
	p, req := &c.first, &c.req
	if c.attempts > 1 {
		p, req = new(requestor.Pending), &message.RpcRequest{Method: c.req.Method, Parameters: c.req.Parameters}
	}
	c.forget, c.session, c.pending = nil, s, p
	c.mu.Unlock()

	if !s.store(p, c.deadline, abstract.RspRPC, c) {
		return
	}
	req.Header, req.TimeoutMs = message.ID(p.ID()), timeoutMs
	s.post(req, p)
	c.mu.Lock()
	gaveUp := c.gaveUp
	c.mu.Unlock()
	if gaveUp != nil { // before there was anything to cancel
		s.requests.Cancel(p, gaveUp)
	}
}

// Ended takes the end of one attempt.
func (c *call) Ended(m abstract.BaseMessage, err error) {
	if err == nil {
		rsp := m.(*message.RpcResponse)
		if rsp.Code == abstract.OK {
			c.settle(balance.OK)
			c.finish(Reply{Raw: rsp.Result, Instance: c.instance, Attempts: c.attempts}, nil)
			return
		}
		e := refused("", rsp.Code, rsp.Message, c.instance)
		e.Details = rsp.Details
		err = e
	}
	e := *asError(err)
	e.Instance = c.instance
	c.settle(balance.OutcomeOf(&e))
	c.mu.Lock()
	c.session, c.pending = nil, nil
	c.last = &e
	again := !c.ended && c.mayRepeat(&e)
	if again {
		c.tried = append(c.tried, c.instance)
	}
	c.mu.Unlock()
	switch {
	case !again:
		c.finish(Reply{}, &e)
	case c.client.movable():
		c.client.later(0, c.try)
	default: // the same server again: give it time to come back
		c.client.later(jitter(pauseAfterAll), c.try)
	}
}

// settle gives the pick of an attempt back, once.
func (c *call) settle(o balance.Outcome) {
	c.mu.Lock()
	pick, group := c.pick, c.among
	c.pick = balance.Pick{}
	c.mu.Unlock()
	if pick.Member != nil {
		group.End(pick, time.Now(), o)
	}
}

// failed notes that an instance could not be reached, and tries the next one.
func (c *call) failed(instance string, e *abstract.Error) {
	c.settle(balance.Failed)
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
	c.gaveUp = cause
	s, p := c.session, c.pending
	c.mu.Unlock()
	if p != nil {
		s.requests.Cancel(p, cause) // or, when it is not stored yet, launch does
		return
	}
	c.finish(Reply{}, &abstract.Error{Code: abstract.CodeOf(cause), Message: requestor.GivenUp(cause), Err: cause, Sent: c.fate()})
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
	pick, group := c.pick, c.among // of an attempt that has not ended
	c.pick = balance.Pick{}
	c.reply = r
	if e != nil {
		if e.Instance == "" && c.last != nil {
			e.Instance = c.last.Instance
		}
		c.err = decorate(e, "call "+c.req.Method, c.attempts, e.Instance)
	}
	forget, watched, wake, done := c.forget, c.watched, c.wake, c.done
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	if pick.Member != nil {
		group.End(pick, time.Now(), balance.Ignored)
	}
	if forget != nil {
		forget()
	}
	if watched {
		c.client.contexts.remove(c)
	}
	if c.fn != nil {
		if !c.client.callbacks.Go(c.callBack) {
			go c.callBack() // the pool is full or closed; a callback is never lost
		}
		return
	}
	if done != nil {
		close(done)
	}
	if wake != nil {
		wake <- struct{}{} // has room; from here on the call may be used for another one
	}
}

func (c *call) callBack() { c.fn(c.reply, c.err) }

// Done returns a channel that is closed when the call has ended.
func (c *call) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.whenDone()
}

// whenDone is Done with the lock held.
func (c *call) whenDone() <-chan struct{} {
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended {
			close(c.done)
		}
	}
	return c.done
}

// join makes the caller one who waits for the call's end, which is told to a channel:
// wake, which is the caller's and gets an element, for the first one; for others
// one that is closed. Nil: it has ended.
func (c *call) join(wake chan struct{}) (told <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended:
		return nil
	case c.wake == nil:
		c.wake = wake
		return wake
	}
	return c.whenDone()
}

// leave takes a wake back that was joined with. False: it has got its element, or
// is about to.
func (c *call) leave(wake chan struct{}) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.wake = nil
	return true
}

// outcome is what an ended call came to.
func (c *call) outcome(result any) error {
	if c.err != nil {
		return c.err
	}
	return c.reply.Decode(result)
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

func (d direct) ready(*call) (*session, string, bool) {
	s := d.conn.current.Load()
	return s, d.conn.addr, s != nil
}

func (d direct) route(c *call, fn func(*session, string, error)) (forget func()) {
	return d.conn.acquire(func(s *session, err error) { fn(s, d.conn.addr, err) })
}

func (d direct) close() {}

// jitter is a random time up to limit.
func jitter(limit time.Duration) time.Duration { return rand.N(limit) + 1 }
