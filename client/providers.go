package client

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
	"trefoil/business/protect"
)

// providers is the target of a client that finds providers through a registry:
// for each method its providers, for each provider one connection that all
// methods share.
type providers struct {
	client    *RpcClient
	discovery abstract.Discovery
	wire      *wire
	report    func(p abstract.Provider, reason string) // nil: the registry takes no reports

	byway byway

	careful atomic.Int64 // until then, in nanoseconds since begun, some providers are to be passed over
	begun   time.Time

	mu      sync.Mutex
	routes  map[string]*route
	entries map[identity]*provider
	budgets map[string]*protect.Budget // by service
	closed  bool
}

// identity is what a provider is told apart by: another process that takes over an
// address is another provider.
type identity struct {
	host     abstract.Host
	instance string
}

func identityOf(q *abstract.Provider) identity { return identity{q.Host, q.Instance} }

// route is what is known of one method's providers.
type route struct {
	method  string
	group   *balance.Group
	budget  *protect.Budget
	hedge   *protect.Hedge // made for the first call that may be hedged
	stop    func()
	known   bool
	list    []*listed
	waiting map[*routing]struct{} // calls that came before the first list
	asked   []chan error          // who else waits for that; each has room
}

// listed is a provider in a method's list.
type listed struct {
	abstract.Provider
	entry *provider
}

// routing is a call's wish for a session, on its way to a provider.
type routing struct {
	call   *call
	fn     func(*session, string, error)
	failed func(*provider, *abstract.Error) // it could not be reached
	at     atomic.Pointer[provider]         // who connects for it
	undo   atomic.Pointer[func()]           // takes back its wish for the broker's session
}

func newProviders(c *RpcClient, d abstract.Discovery) *providers {
	p := &providers{
		client: c, discovery: d, wire: newWire(&c.cfg), begun: time.Now(),
		routes: make(map[string]*route), entries: make(map[identity]*provider), budgets: make(map[string]*protect.Budget),
	}
	p.wire.life = c.ctx
	p.byway.conn = brokerOf(d)
	if r, ok := d.(abstract.Reporter); ok {
		p.report = r.Report
	}
	if c.cfg.breaker.On {
		p.careful.Store(math.MaxInt64)
	}
	return p
}

// ready picks a provider for a call that none has failed yet, when that provider's
// connection is there.
func (p *providers) ready(c *call) (*session, string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.routes[c.sought()]
	if r == nil || len(r.list) == 0 || p.closed {
		return nil, "", false
	}
	p.adopt(c, r)
	if int64(c.begun.Sub(p.begun)) < p.careful.Load() || c.relay == RelayAlways || c.extra.particular() {
		return nil, "", false // route looks more closely
	}
	pick, ok := r.group.Pick(balance.Call{Now: c.begun, Key: c.key})
	if !ok {
		return nil, "", false
	}
	h := entryOf(pick)
	c.choice, c.at = choice{pick: pick, group: r.group}, h
	s := h.current.Load()
	if s == nil {
		c.picked = h // its turn it is; route connects to it
	}
	return s, h.addr, s != nil
}

// adopt tells a call what it is to go by, of its method. It is called with the lock
// held.
func (p *providers) adopt(c *call, r *route) {
	c.adopt(r.budget)
	if c.extra != nil && c.extra.hedged && c.extra.hedge == nil {
		if r.hedge == nil {
			r.hedge = p.client.cfg.hedging.make(c.begun)
		}
		c.mu.Lock()
		c.extra.hedge = r.hedge
		c.hedgeSoon()
		c.mu.Unlock()
	}
}

func (p *providers) route(c *call, fn func(*session, string, error)) (forget func()) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		fn(nil, "", &abstract.Error{Code: abstract.Disconnected, Message: "the client is closed", Sent: abstract.SentNo})
		return nil
	}
	r, err := p.routeOf(c.sought())
	if err != nil {
		p.mu.Unlock()
		fn(nil, "", err)
		return nil
	}
	p.adopt(c, r)
	w := &routing{call: c, fn: fn, failed: c.failed}
	if !r.known {
		r.waiting[w] = struct{}{}
		p.mu.Unlock()
		return func() { p.forget(r, w) }
	}
	host, err := c.picked, error(nil)
	if c.picked = nil; host == nil || host.ailing(time.Now()) {
		host, err = p.choose(r, c)
	}
	p.mu.Unlock()
	p.dispatch(w, host, err)
	return func() { p.forget(r, w) }
}

// knows says whether there was a list of the method's providers.
func (p *providers) knows(method string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.routes[method]
	return r != nil && r.known
}

// away says that the registry has not answered, and where it should be.
func (p *providers) away() string {
	registry := "the registry"
	if named, ok := p.discovery.(fmt.Stringer); ok {
		registry = named.String()
	}
	return "the registry has not said who provides the method before the deadline; is " + registry + " running, and reached as it wants to be, over TLS or without?"
}

// routeOf returns a method's route and begins to follow it when it is new. It is
// called with the lock held.
func (p *providers) routeOf(method string) (*route, error) {
	if r := p.routes[method]; r != nil {
		return r, nil
	}
	if len(p.routes) >= p.client.cfg.maxMethods && !p.evict() {
		return nil, &abstract.Error{Code: abstract.Overloaded, Message: "too many methods are in use by one client", Sent: abstract.SentNo}
	}
	r := &route{method: method, group: p.client.cfg.newGroup(method, time.Now()), budget: p.budgetOf(method), waiting: make(map[*routing]struct{})}
	p.routes[method] = r
	r.stop = p.discovery.Follow(method, func(list abstract.Providers) { p.update(r, list) })
	return r, nil
}

// budgetOf returns the budget of a method's service. It is called with the lock held.
func (p *providers) budgetOf(method string) *protect.Budget {
	service := serviceOf(method)
	b, ok := p.budgets[service]
	if !ok {
		b = p.client.cfg.retries.make(time.Now())
		p.budgets[service] = b
	}
	return b
}

// evict makes room by forgetting a method that nobody provides.
func (p *providers) evict() bool {
	for name, r := range p.routes {
		if r.known && len(r.list) == 0 && len(r.waiting) == 0 {
			delete(p.routes, name)
			p.evictBudget(serviceOf(name))
			go r.stop() // it waits for update, which wants our lock
			return true
		}
	}
	return false
}

// evictBudget forgets the budget of a service none of whose methods is known any more.
func (p *providers) evictBudget(service string) {
	for name := range p.routes {
		if serviceOf(name) == service {
			return
		}
	}
	delete(p.budgets, service)
}

// update takes a method's new list: unknown providers are noted, those that no
// method has any more are dropped, and calls that waited for the list go on.
func (p *providers) update(r *route, change abstract.Providers) {
	p.mu.Lock()
	if p.closed || p.routes[r.method] != r {
		p.mu.Unlock()
		return
	}
	if change.Err != nil {
		waiting := r.waiting
		r.waiting = make(map[*routing]struct{})
		r.tell(change.Err)
		p.mu.Unlock()
		for w := range waiting {
			e := *asError(change.Err)
			e.Sent = abstract.SentNo
			w.fn(nil, "", &e)
		}
		return
	}
	retired := p.replace(r, change.List)
	r.known = true
	r.tell(nil)
	type chosen struct {
		w    *routing
		host *provider
		err  error
	}
	var ready []chosen
	for w := range r.waiting {
		host, err := p.choose(r, w.call)
		ready = append(ready, chosen{w, host, err})
	}
	clear(r.waiting)
	p.mu.Unlock()
	for _, h := range retired {
		h.retire()
	}
	for _, c := range ready {
		p.dispatch(c.w, c.host, c.err)
	}
}

// replace makes list the providers of a method, and returns those that no method
// lists any more. It is called with the lock held.
func (p *providers) replace(r *route, list []abstract.Provider) (retired []*provider) {
	before := r.list
	r.list = make([]*listed, len(list))
	for i := range list {
		h := p.entry(&list[i])
		h.lists++
		h.gone.Store(false) // the registry has looked again
		h.listed.Store(&list[i])
		r.list[i] = &listed{list[i], h}
	}
	for _, q := range before {
		if q.entry.lists--; q.entry.lists == 0 {
			delete(p.entries, identityOf(&q.Provider))
			retired = append(retired, q.entry)
		}
	}
	r.group.Update(instancesOf(r.list), time.Now())
	return retired
}

// choose picks a provider for a call: one that has not failed it yet and that
// can be reached as far as we know. It is called with the lock held.
func (p *providers) choose(r *route, c *call) (*provider, error) {
	if len(r.list) == 0 {
		return nil, errNobody()
	}
	c.settle(balance.Ignored)
	now := time.Now()
	if c.extra.pinned() {
		return p.chooseOnly(r, c, now)
	}
	c.mu.Lock()
	tried := c.tried
	c.mu.Unlock()
	k := balance.Call{Now: now, Key: c.key}
	chosen, h := p.nearby(r, c, k, tried)
	if h == nil {
		chosen, h = p.choice(r, c, k, tried, true)
	}
	if h == nil {
		chosen, h = p.choice(r, c, k, tried, false)
	}
	if h == nil { // one that did badly lately may do well now
		k.Away = true
		chosen, h = p.choice(r, c, k, tried, false)
		k.Away = false
	}
	if h == nil {
		var err error
		if chosen, h, err = p.chooseRelayed(r, c, k); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	c.at = h
	c.mu.Unlock()
	c.choose(chosen)
	return h, nil
}

func errNobody() *abstract.Error {
	return &abstract.Error{Code: abstract.ServiceNotFound, Message: "nobody provides it now; start a provider, or wait for one with DiscoveryClient.WaitFor", Sent: abstract.SentNo}
}

// choice picks a provider that is none of tried, and, if well is set, is well as far
// as is known; nil: there is none. It is called with the lock held.
func (p *providers) choice(r *route, c *call, k balance.Call, tried []*provider, well bool) (choice, *provider) {
	k.Avoid = func(m *balance.Member) bool {
		h := m.Instance().Value.(*listed).entry
		return c.shuns(h, k.Now, well) || well && h.busy(k.Now) || !h.breaker.Ready(k.Now) || slices.Contains(tried, h)
	}
	pick, ok := r.group.Pick(k)
	if !ok {
		return choice{}, nil
	}
	h := entryOf(pick)
	permit, ok := h.breaker.Allow(k.Now)
	if !ok { // it has opened just now
		r.group.End(pick, k.Now, balance.Ignored)
		return choice{}, nil
	}
	return choice{pick, r.group, h.breaker, permit}, h
}

// beside picks a provider for an attempt of a call beside the one under way, which
// goes to another one that is well, and sends it there. False: there is none.
func (p *providers) beside(c *call, a *attempt) bool {
	p.mu.Lock()
	r := p.routes[c.sought()]
	if r == nil || p.closed {
		p.mu.Unlock()
		return false
	}
	chosen, h := p.choice(r, c, balance.Call{Now: time.Now(), Key: c.key}, c.asked(), true)
	p.mu.Unlock()
	if h == nil {
		return false
	}
	a.at, a.choice = h, chosen
	a.routing = &routing{call: c, fn: a.routed, failed: a.failed}
	if !a.join() {
		chosen.end(balance.Ignored)
		return false
	}
	p.send(a.routing, h)
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if ended { // before there was anything to take back
		h.forget(a.routing)
		a.routing.takeBack()
	}
	return true
}

// nobody is the reason why none of the providers there are can be chosen: errAllTried,
// when that may be different soon.
func (r *route) nobody(now time.Time) error {
	up, open := 0, 0
	var again time.Time
	for _, m := range r.group.States(now) { // not of the list, which may be longer
		if m.Instance.Draining {
			continue
		}
		up++
		if at := m.Instance.Value.(*listed).entry.breaker.Again(now); !at.IsZero() {
			open++
			if again.IsZero() || at.Before(again) {
				again = at
			}
		}
	}
	switch {
	case up == 0:
		return &abstract.Error{Code: abstract.Draining, Message: "every provider is shutting down; start another one, or try again later", Sent: abstract.SentNo}
	case open == up:
		return errOpen("every provider", again, now)
	}
	return errAllTried
}

func entryOf(pick balance.Pick) *provider { return pick.Member.Instance().Value.(*listed).entry }

func instancesOf(list []*listed) []balance.Instance {
	instances := make([]balance.Instance, len(list))
	for i, q := range list {
		instances[i] = balance.Instance{
			ID: q.Instance, Host: q.Host, Weight: q.Weight, Zone: q.Zone, Version: q.Version, Tags: q.Tags.All(), Value: q,
			Draining: q.State == abstract.Retiring, Ejected: q.State == abstract.Unhealthy,
		}
	}
	return instances
}

// entry returns what is known of a provider. It is called with the lock held.
func (p *providers) entry(q *abstract.Provider) *provider {
	h := p.entries[identityOf(q)]
	if h == nil {
		h = &provider{owner: p, addr: q.Host.String(), how: modeLegacy, breaker: p.client.cfg.newBreaker(time.Now())}
		if q.Hello {
			h.how = modeModern
		}
		p.entries[identityOf(q)] = h
	}
	return h
}

// errAllTried says that a call has failed at every provider there is.
var errAllTried = errors.New("every provider failed")

// dispatch sends a routing on: to its provider, back to the start after a pause, or
// to its end.
func (p *providers) dispatch(w *routing, host *provider, err error) {
	switch {
	case errors.Is(err, errAllTried):
		if pause, ok := w.call.startOver(); ok {
			p.client.later(pause, w.call.try)
		} else {
			w.call.exhausted()
		}
	case err != nil:
		w.fn(nil, "", err)
	default:
		p.send(w, host)
	}
}

// forget takes a routing back wherever it waits.
func (p *providers) forget(r *route, w *routing) {
	p.mu.Lock()
	delete(r.waiting, w)
	p.mu.Unlock()
	w.takeBack()
	if h := w.at.Load(); h != nil {
		h.forget(w)
	}
}

// watchOut makes calls look more closely whom they go to, for some time.
func (p *providers) watchOut(until time.Time) {
	at := int64(until.Sub(p.begun))
	for {
		old := p.careful.Load()
		if old >= at || p.careful.CompareAndSwap(old, at) {
			return
		}
	}
}

func (p *providers) close() {
	p.mu.Lock()
	p.closed = true
	routes, entries := p.routes, p.entries
	p.routes, p.entries = make(map[string]*route), make(map[identity]*provider)
	var waiting []*routing
	for _, r := range routes {
		for w := range r.waiting {
			waiting = append(waiting, w)
		}
		clear(r.waiting)
	}
	p.mu.Unlock()
	for _, r := range routes {
		r.stop()
	}
	for _, w := range waiting {
		w.fn(nil, "", &abstract.Error{Code: abstract.Disconnected, Message: "the client was closed", Sent: abstract.SentNo})
	}
	var leaving sync.WaitGroup
	for _, h := range entries {
		leaving.Go(h.close)
	}
	leaving.Wait()
}
