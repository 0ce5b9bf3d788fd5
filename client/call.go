package client

import (
	"context"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
	"trefoil/business/protect"
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
	relay      RelayMode
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

	direct   bool            // there was a session at once, and the caller's goroutine sent the request
	picked   *provider       // by the target, for its own use
	at       *provider       // of the attempt under way or the last one, when there are several to choose from
	choice   choice          // of the attempt under way
	budget   *protect.Budget // of attempts after the first
	extra    *extras         // nil: nothing but the usual was asked for
	entered  bool            // the client's own limits have counted the call
	attempts int             // all of them
	instance string          // of the last attempt

	mu      sync.Mutex
	ended   bool
	first   requestor.Pending
	pending *requestor.Pending // of the attempt in flight
	session *session           // the same
	gaveUp  error              // the caller's reason
	tried   []*provider        // which failed since all were tried
	rounds  int                // how often all were tried
	left    bool               // an attempt that failed may have been handled
	last    *abstract.Error
	forget  func()      // takes back the wish for a session
	timer   *time.Timer // the deadline, while no session watches it
	watched bool        // by the client's contexts, which own what follows
	group   *group
	prev    *call
	next    *call

	stream *opening // it opens a stream; nil: it is a call

	relayTo    []*provider // those that go through the broker in a round, as they could not be connected to
	relayRound int         // which round that is
}

var _ requestor.Waiter = (*call)(nil)

// start begins the call.
func (c *call) start(ctx context.Context) {
	switch {
	case c.err != nil:
		e := *asError(c.err)
		e.Sent = abstract.SentNo
		c.finish(Reply{}, &e)
		return
	case ctx.Err() != nil:
		c.finish(Reply{}, &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Message: "the context was over before the call", Sent: abstract.SentNo, Err: ctx.Err()})
		return
	}
	if c.client.limits != nil {
		if e := c.client.limits.enter(c); e != nil {
			c.finish(Reply{}, e)
			return
		}
	}
	s, instance, ok := c.client.target.ready(c)
	if c.extra != nil {
		c.begin()
	}
	if ok {
		c.direct = true
		c.launch(s, instance, budget(c.deadline.Sub(c.begun)))
		return
	}
	c.try()
}

// adopt counts the call for the budget that its further attempts are taken from.
func (c *call) adopt(b *protect.Budget) {
	if c.budget == nil && b != nil {
		c.budget = b
		b.Call()
	}
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
	c.watchTime()
}

// watchTime ends the call at its deadline while it waits for anything but an answer. It
// is called with the lock held.
func (c *call) watchTime() {
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
	c.forget = nil
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
		p, req = new(requestor.Pending), &message.RpcRequest{Method: c.req.Method, Parameters: c.req.Parameters, Meta: c.req.Meta}
	}
	c.forget, c.session, c.pending = nil, s, p
	at := c.at
	c.mu.Unlock()
	c.address(req, at, s)
	if c.stream != nil {
		c.stream.launch(c, s, p, req, timeoutMs)
		return
	}

	if !s.store(p, c.deadline, abstract.RspRPC, c) {
		return
	}
	req.Header, req.TimeoutMs = message.ID(p.ID()), timeoutMs
	if c.extra != nil && c.extra.oneway {
		c.sendOff(s, req, p)
		return
	}
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
		if rsp := m.(*message.RpcResponse); rsp.Code == abstract.OK {
			if c.stream != nil {
				c.stream.taken(c)
				return
			}
			c.answered(rsp, c.instance, c.relayed(c.at, c.session), balance.OK)
			return
		}
	}
	e := failure(m, err, c.instance)
	c.byWay(e, c.at, c.session)
	c.settle(balance.OutcomeOf(e))
	if e.Code == abstract.Overloaded && c.at != nil {
		c.at.stayAway(hinted(e))
	}
	c.mu.Lock()
	s, p := c.session, c.pending
	c.session, c.pending = nil, nil
	c.mu.Unlock()
	c.stream.failed()
	if unheard(e) {
		s.abandon(p.ID())
	}
	c.goOn(e, c.at, c.harmless(e))
}

// answered ends the call with the result of one of its attempts. first is what becomes
// of the choice of the attempt that the call itself is.
func (c *call) answered(rsp *message.RpcResponse, instance string, relayed bool, first balance.Outcome) {
	c.end(Reply{Raw: rsp.Result, Instance: instance, Relayed: relayed}, nil, first)
}

// failure is the error of an attempt that ended with an answer other than OK, or
// with none.
func failure(m abstract.BaseMessage, err error, instance string) *abstract.Error {
	if err == nil {
		rsp := m.(*message.RpcResponse)
		e := refused("", rsp.Code, rsp.Message, instance)
		e.Details = rsp.Details
		return e
	}
	e := *asError(err)
	e.Instance = instance
	return &e
}

// unheard says whether an attempt ended here while the peer may be at work on it.
func unheard(e *abstract.Error) bool {
	return !e.FromPeer && e.Sent == abstract.SentUnknown && (e.Code == abstract.Timeout || e.Code == abstract.Cancelled)
}

// settle gives the choice of the attempt under way back, once.
func (c *call) settle(o balance.Outcome) {
	c.mu.Lock()
	chosen := c.choice
	c.choice = choice{}
	c.mu.Unlock()
	chosen.end(o)
}

// choose makes who was chosen the call's attempt under way.
func (c *call) choose(chosen choice) {
	c.mu.Lock()
	ended := c.ended
	if !ended {
		c.choice = chosen
	}
	c.mu.Unlock()
	if ended { // meanwhile: nobody else gives it back
		chosen.end(balance.Ignored)
	}
}

// failed notes that a provider could not be reached, and tries the next one.
func (c *call) failed(at *provider, e *abstract.Error) {
	c.settle(balance.Failed)
	d := *e
	d.Instance, d.Sent = at.addr, abstract.SentNo
	c.mu.Lock()
	c.attempts++
	c.forget = nil
	c.mu.Unlock()
	c.goOn(&d, at, true)
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
	e := &abstract.Error{Code: abstract.CodeOf(cause), Message: requestor.GivenUp(cause), Err: cause, Sent: c.fate()}
	if text := c.untold(); e.Code == abstract.Timeout && text != "" { // not that somebody was slow to answer
		e.Message = text
	}
	c.finish(Reply{}, e)
}

// untold says whom the call waits for when nobody has said who provides its method; it is
// empty when that is known.
func (c *call) untold() string {
	p, ok := c.client.target.(*providers)
	if !ok || p.knows(c.sought()) {
		return ""
	}
	return p.away()
}

// expire ends the call at its deadline while it waits for a session.
func (c *call) expire() {
	c.mu.Lock()
	if c.pending != nil || c.extra.sent() { // the session ends it
		c.mu.Unlock()
		return
	}
	last := c.last
	c.mu.Unlock()
	e := &abstract.Error{Code: abstract.Unavailable, Message: "no connection to a provider before the deadline", Sent: c.fate()}
	if last != nil {
		e.Err = last
	} else if text := c.untold(); text != "" {
		e.Message = text
	}
	c.finish(Reply{}, e)
}

// fate says whether the request of a call that is not in flight has left.
func (c *call) fate() abstract.Sent {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.session != nil || c.extra.sent():
		return abstract.SentUnknown // just being sent
	case c.last == nil:
		return abstract.SentNo
	}
	return c.last.Sent
}

// described is the error that the call ends with: with all that is known. It is
// called with the lock held.
func (c *call) described(e *abstract.Error) *abstract.Error {
	if e.Instance == "" && c.last != nil {
		e.Instance = c.last.Instance
	}
	d := decorate(e, c.stream.verb()+c.req.Method, c.attempts, e.Instance)
	if c.left && d.Sent == abstract.SentNo { // the last attempt was not, but one before it may have been
		d.Sent = abstract.SentUnknown
	}
	return d
}

// finish is end when the attempt that is under way, if one is, has no answer.
func (c *call) finish(r Reply, e *abstract.Error) { c.end(r, e, balance.Ignored) }

// end ends the call, and gives the choice back if its attempt has not ended before;
// only the first time counts.
func (c *call) end(r Reply, e *abstract.Error, o balance.Outcome) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	chosen := c.choice
	c.choice = choice{}
	if e == nil {
		r.Attempts = c.attempts
	} else {
		c.err = c.described(e)
	}
	c.reply = r
	forget, watched, wake, done := c.forget, c.watched, c.wake, c.done
	if c.timer != nil {
		c.timer.Stop()
	}
	var losers []loser
	if c.extra != nil {
		losers = c.losers()
	}
	c.mu.Unlock()
	chosen.end(o)
	if c.entered {
		c.client.limits.leave()
	}
	if forget != nil {
		forget()
	}
	if watched {
		c.client.contexts.remove(c)
	}
	if c.extra != nil {
		c.over(losers, e == nil)
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
	_, fixed := c.target.(*direct)
	return !fixed
}
