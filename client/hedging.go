package client

import (
	"slices"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
	"trefoil/business/protect"
	"trefoil/business/requestor"
	"trefoil/concrete/message"
)

// Hedging says when a call that takes long is sent to a second provider, too: the
// answer that comes first counts, and the other attempt is cancelled. The zero value
// is the default.
type Hedging struct {
	After      time.Duration // how long to wait for the first answer; default: as long as all but the slowest calls of the method take
	Percentile float64       // which of them, from 0 to 1; default 0.95
	Least      time.Duration // but never wait less; default 1 ms
	Known      int           // calls that must have been answered before a percentile is believed in; default 100
	Most       int           // further attempts for one call; default 1
	Ratio      float64       // further attempts for each call of a method, all in all; default 0.05
}

// WithHedging hedges all calls that are Idempotent; others are left alone. Calls with
// the option Hedge go by it, too. A client of one server hedges nothing.
func WithHedging(h Hedging) Option {
	return func(c *config) { c.hedging, c.hedged = h, true }
}

// Hedge hedges the call: when the answer takes longer than most answers of the method
// do, a second provider is asked, too, and the first answer counts. Only a call that
// is Idempotent may be hedged.
func Hedge() CallOption { return HedgeAfter(0) }

// HedgeAfter is Hedge with the time to wait before the second provider is asked.
func HedgeAfter(d time.Duration) CallOption {
	return func(o *abstract.CallOptions) { o.Hedged, o.HedgeAfter = true, max(0, d) }
}

// make makes what is known of one method's calls.
func (h Hedging) make(now time.Time) *protect.Hedge {
	return protect.NewHedge(protect.HedgeConfig{
		Fixed: h.After, Percentile: h.Percentile, Least: h.Least, Known: h.Known, Most: h.Most, Ratio: h.Ratio,
	}, now)
}

// extras is what only some calls need.
type extras struct {
	attempts int  // at most; 0: any number
	hedged   bool // there may be further attempts beside the one under way
	after    time.Duration

	zone     string    // where a provider is preferred from; empty: anywhere
	instance string    // the only provider to ask, by id or address; empty: any
	only     *provider // the same, when it is known; it is asked once
	oneway   bool      // nobody waits for an answer
	about    string    // the method whose providers are asked; empty: the one that is called

	// The rest is guarded by the call's lock.
	hedge   *protect.Hedge
	timer   *time.Timer
	beside  []*attempt // under way
	made    int        // all of them
	stalled bool       // there is no attempt but those
}

// busy says whether attempts are under way beside the usual one. It is called with
// the call's lock held.
func (x *extras) busy() bool { return x != nil && len(x.beside) > 0 }

// sent says whether the request of such an attempt has gone to a session, which ends it
// at the deadline. It is called with the call's lock held.
func (x *extras) sent() bool {
	return x != nil && slices.ContainsFunc(x.beside, func(a *attempt) bool { return a.session != nil })
}

// most is how many attempts the call may have; 0: any number.
func (x *extras) most() int {
	if x == nil {
		return 0
	}
	return x.attempts
}

// wants takes what only some calls ask for.
func (c *call) wants(d *asking) {
	if d.Hedged && !d.Idempotent {
		c.err = abstract.Errorf(abstract.InvalidParams, "a call is hedged only when its method may be called twice: add the option Idempotent, or leave Hedge out")
	}
	hedged := d.Idempotent && (d.Hedged || c.client.cfg.hedged) && c.client.movable() && d.Instance == "" && d.only == nil && !d.oneway
	if d.Attempts > 0 || hedged || d.Zone != "" || d.Instance != "" || d.only != nil || d.oneway || d.about != "" {
		c.extra = &extras{attempts: d.Attempts, hedged: hedged, after: d.HedgeAfter, zone: d.Zone, instance: d.Instance, only: d.only, oneway: d.oneway, about: d.about}
	}
}

// begin begins what only some calls need. The target has seen the call.
func (c *call) begin() {
	if c.extra.hedged {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.hedgeSoon()
	}
}

// hedgeSoon waits for the time to ask a second provider. It is called with the lock
// held, and again when the target knows the method only later.
func (c *call) hedgeSoon() {
	x := c.extra
	if x.hedge == nil || x.timer != nil || c.ended {
		return
	}
	x.hedge.Call()
	if wait, ok := c.hedgeWait(); ok {
		x.timer = time.AfterFunc(wait, c.hedge)
	}
}

func (c *call) hedgeWait() (time.Duration, bool) {
	if c.extra.after > 0 {
		return c.extra.after, true
	}
	return c.extra.hedge.After()
}

// hedge asks a further provider.
func (c *call) hedge() {
	x := c.extra
	c.mu.Lock()
	waits := !c.ended && (x.attempts == 0 || c.attempts < x.attempts)
	made := x.made
	c.mu.Unlock()
	if !waits || !x.hedge.Extra(made, time.Now()) {
		return
	}
	a := &attempt{call: c}
	if !c.client.target.(*providers).beside(c, a) {
		x.hedge.NotMade()
		return
	}
	if wait, ok := c.hedgeWait(); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.ended {
			x.timer.Reset(wait) // there may be one more
		}
	}
}

// asked returns the providers that the call has been given to.
func (c *call) asked() []*provider {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.tried)
	if c.at != nil {
		all = append(all, c.at)
	}
	for _, a := range c.extra.beside {
		all = append(all, a.at)
	}
	return all
}

// join makes an attempt one of the call's. False: the call has ended.
func (a *attempt) join() bool {
	c := a.call
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.extra.made++
	c.extra.beside = append(c.extra.beside, a)
	return true
}

// attempt is one beside the usual one of a call.
type attempt struct {
	call     *call
	at       *provider
	choice   choice
	instance string
	routing  *routing
	pending  requestor.Pending
	session  *session // nil until it is sent; behind the call's lock
}

var _ requestor.Waiter = (*attempt)(nil)

// routed sends the request.
func (a *attempt) routed(s *session, instance string, err error) {
	if err != nil {
		a.failed(a.at, asError(err))
		return
	}
	c := a.call
	a.instance = instance
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		a.settle(balance.Ignored)
		return
	}
	c.attempts++
	a.session = s
	c.mu.Unlock()
	if !s.store(&a.pending, c.deadline, abstract.RspRPC, a) {
		return
	}
	req := &message.RpcRequest{
		Header: message.ID(a.pending.ID()), Method: c.req.Method, Parameters: c.req.Parameters, TimeoutMs: budget(time.Until(c.deadline)), Meta: c.req.Meta,
	}
	c.address(req, a.at, s)
	s.post(req, &a.pending)
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if ended { // before there was anything to cancel
		s.requests.Cancel(&a.pending, errOutrun)
	}
}

// Ended takes the end of the attempt.
func (a *attempt) Ended(m abstract.BaseMessage, err error) {
	if err == nil {
		if rsp := m.(*message.RpcResponse); rsp.Code == abstract.OK {
			a.settle(balance.OK)
			a.call.answered(rsp, a.instance, a.call.relayed(a.at, a.session), balance.Ignored)
			return
		}
	}
	e := failure(m, err, a.instance)
	a.call.byWay(e, a.at, a.session)
	a.settle(balance.OutcomeOf(e))
	if e.Code == abstract.Overloaded {
		a.at.stayAway(hinted(e))
	}
	if unheard(e) {
		a.session.abandon(a.pending.ID())
	}
	a.over(e, a.call.harmless(e))
}

// failed notes that the provider could not be reached.
func (a *attempt) failed(at *provider, e *abstract.Error) {
	a.settle(balance.Failed)
	d := *e
	d.Instance, d.Sent = at.addr, abstract.SentNo
	a.over(&d, true)
}

func (a *attempt) settle(o balance.Outcome) {
	c := a.call
	c.mu.Lock()
	chosen := a.choice
	a.choice = choice{}
	c.mu.Unlock()
	chosen.end(o)
}

// over takes the attempt out of the call. An error that another attempt may still
// make good is left to that one.
func (a *attempt) over(e *abstract.Error, harmless bool) {
	c := a.call
	c.mu.Lock()
	x := c.extra
	x.beside = slices.DeleteFunc(x.beside, func(b *attempt) bool { return a == b })
	waits := harmless && (!x.stalled || x.busy())
	if waits {
		c.tried = append(c.tried, a.at)
		c.left = c.left || e.Sent == abstract.SentUnknown
	} else {
		x.stalled = false
	}
	c.mu.Unlock()
	if !waits {
		c.goOn(e, a.at, harmless)
	}
}

// errOutrun is why an attempt is cancelled that another one was faster than.
var errOutrun = abstract.Errorf(abstract.Cancelled, "another attempt was answered first")

// loser is an attempt that goes on when its call has ended.
type loser struct {
	session *session
	pending *requestor.Pending
	attempt *attempt
}

// losers returns the attempts under way of a call that ends. It is called with the
// lock held.
func (c *call) losers() []loser {
	var all []loser
	if c.pending != nil {
		all = append(all, loser{c.session, c.pending, nil})
		c.gaveUp = errOutrun // for who has not sent it yet
	}
	for _, a := range c.extra.beside {
		all = append(all, loser{a.session, &a.pending, a})
	}
	if c.extra.timer != nil {
		c.extra.timer.Stop()
	}
	return all
}

// over ends what is left of an ended call.
func (c *call) over(losers []loser, answered bool) {
	for _, l := range losers {
		if l.attempt != nil && l.session == nil {
			l.attempt.at.forget(l.attempt.routing)
			l.attempt.routing.takeBack()
			l.attempt.settle(balance.Ignored)
		} else {
			l.session.requests.Cancel(l.pending, errOutrun)
		}
	}
	if x := c.extra; answered && x.hedge != nil {
		x.hedge.Ended(time.Since(c.begun))
	}
}
