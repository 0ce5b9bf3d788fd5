package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
)

// providers is the target of a client that finds providers through a registry:
// for each method its providers, for each provider one connection that all
// methods share.
type providers struct {
	client    *RpcClient
	discovery abstract.Discovery
	wire      *wire

	mu     sync.Mutex
	routes map[string]*route
	hosts  map[abstract.Host]*provider
	closed bool
}

// route is what is known of one method's providers.
type route struct {
	method  string
	group   *balance.Group
	stop    func()
	known   bool
	list    []abstract.Provider
	waiting map[*routing]struct{} // calls that came before the first list
}

// routing is a call's wish for a session, on its way to a provider.
type routing struct {
	call *call
	fn   func(*session, string, error)
}

func newProviders(c *RpcClient, d abstract.Discovery) *providers {
	return &providers{
		client: c, discovery: d, wire: newWire(&c.cfg),
		routes: make(map[string]*route), hosts: make(map[abstract.Host]*provider),
	}
}

// ready picks a provider for a call that none has failed yet, when that provider's
// connection is there.
func (p *providers) ready(c *call) (*session, string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.routes[c.req.Method]
	if r == nil || len(r.list) == 0 || p.closed {
		return nil, "", false
	}
	pick, ok := r.group.Pick(balance.Call{Now: c.begun, Key: c.key})
	if !ok {
		return nil, "", false
	}
	c.pick, c.among = pick, r.group
	h := p.hostOf(pick)
	s := h.current.Load()
	if s == nil {
		c.picked = h // its turn it is; route connects to it
	}
	return s, h.addr, s != nil
}

func (p *providers) route(c *call, fn func(*session, string, error)) (forget func()) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		fn(nil, "", &abstract.Error{Code: abstract.Disconnected, Message: "the client is closed", Sent: abstract.SentNo})
		return nil
	}
	r, err := p.routeOf(c.req.Method)
	if err != nil {
		p.mu.Unlock()
		fn(nil, "", err)
		return nil
	}
	w := &routing{call: c, fn: fn}
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

// routeOf returns a method's route and begins to follow it when it is new. It is
// called with the lock held.
func (p *providers) routeOf(method string) (*route, error) {
	if r := p.routes[method]; r != nil {
		return r, nil
	}
	if len(p.routes) >= p.client.cfg.maxMethods && !p.evict() {
		return nil, &abstract.Error{Code: abstract.Overloaded, Message: "too many methods are in use by one client", Sent: abstract.SentNo}
	}
	r := &route{method: method, group: p.client.cfg.newGroup(method, time.Now()), waiting: make(map[*routing]struct{})}
	p.routes[method] = r
	r.stop = p.discovery.Follow(method, func(list abstract.Providers) { p.update(r, list) })
	return r, nil
}

// evict makes room by forgetting a method that nobody provides.
func (p *providers) evict() bool {
	for name, r := range p.routes {
		if r.known && len(r.list) == 0 && len(r.waiting) == 0 {
			delete(p.routes, name)
			go r.stop() // it waits for update, which wants our lock
			return true
		}
	}
	return false
}

// update takes a method's new list: unknown hosts are noted, hosts that no
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
		p.mu.Unlock()
		for w := range waiting {
			e := *asError(change.Err)
			e.Sent = abstract.SentNo
			w.fn(nil, "", &e)
		}
		return
	}
	r.list, r.known = change.List, true
	r.group.Update(instancesOf(change.List), time.Now())
	var retired []*provider
	for _, gone := range change.Offline {
		if h := p.hosts[gone.Host]; h != nil && !p.listed(gone.Host) {
			delete(p.hosts, gone.Host)
			retired = append(retired, h)
		}
	}
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

// listed says whether some method is provided at host. It is called with the lock held.
func (p *providers) listed(host abstract.Host) bool {
	for _, r := range p.routes {
		if len(without(r.list, host)) < len(r.list) {
			return true
		}
	}
	return false
}

// pauseAfterAll bounds how long a call waits before it asks providers again that
// have all failed it.
const pauseAfterAll = 50 * time.Millisecond

// choose picks a provider for a call: one that has not failed it yet and that
// can be reached as far as we know. It is called with the lock held.
func (p *providers) choose(r *route, c *call) (*provider, error) {
	if len(r.list) == 0 {
		return nil, &abstract.Error{Code: abstract.ServiceNotFound, Message: "nobody provides it now; start a provider, or wait for one with DiscoveryClient.WaitFor", Sent: abstract.SentNo}
	}
	c.settle(balance.Ignored)
	now := time.Now()
	failed := func(m *balance.Member) bool { return c.failedAt(m.Instance().Host.String()) }
	pick, ok := r.group.Pick(balance.Call{Now: now, Key: c.key, Avoid: func(m *balance.Member) bool {
		h := p.hosts[m.Instance().Host]
		return h != nil && h.ailing(now) || failed(m)
	}})
	if !ok {
		pick, ok = r.group.Pick(balance.Call{Now: now, Key: c.key, Avoid: failed})
	}
	if !ok {
		return nil, errAllTried
	}
	c.mu.Lock()
	ended := c.ended
	if !ended {
		c.pick, c.among = pick, r.group
	}
	c.mu.Unlock()
	if ended { // meanwhile: nobody else gives it back
		r.group.End(pick, now, balance.Ignored)
	}
	return p.hostOf(pick), nil
}

// hostOf returns the entry of the host that was picked. It is called with the lock held.
func (p *providers) hostOf(pick balance.Pick) *provider {
	return p.host(pick.Member.Instance().Value.(abstract.Provider))
}

func instancesOf(list []abstract.Provider) []balance.Instance {
	instances := make([]balance.Instance, len(list))
	for i, q := range list {
		instances[i] = balance.Instance{ID: q.Instance, Host: q.Host, Weight: q.Weight, Zone: q.Zone, Version: q.Version, Value: q}
	}
	return instances
}

// host returns the entry of a provider's host. It is called with the lock held.
func (p *providers) host(q abstract.Provider) *provider {
	h := p.hosts[q.Host]
	if h == nil {
		h = &provider{owner: p, addr: q.Host.String(), how: modeLegacy, waiting: make(map[*routing]struct{})}
		if q.Hello {
			h.how = modeModern
		}
		p.hosts[q.Host] = h
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
		w.call.startOver()
		p.client.later(jitter(pauseAfterAll), w.call.try)
	case err != nil:
		w.fn(nil, "", err)
	default:
		host.acquire(w)
	}
}

// forget takes a routing back wherever it waits.
func (p *providers) forget(r *route, w *routing) {
	p.mu.Lock()
	delete(r.waiting, w)
	hosts := make([]*provider, 0, len(r.list))
	for _, q := range r.list {
		if h := p.hosts[q.Host]; h != nil {
			hosts = append(hosts, h)
		}
	}
	p.mu.Unlock()
	for _, h := range hosts {
		h.forget(w)
	}
}

func (p *providers) close() {
	p.mu.Lock()
	p.closed = true
	routes, hosts := p.routes, p.hosts
	p.routes, p.hosts = make(map[string]*route), make(map[abstract.Host]*provider)
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
	for _, h := range hosts {
		h.close()
	}
}

// provider is the connection to one provider. It is opened by the first call,
// and again after a loss, with a pause that grows while that fails.
type provider struct {
	owner *providers
	addr  string
	how   mode

	current atomic.Pointer[session] // nil while there is no connection; changed with mu held

	mu         sync.Mutex
	connecting bool
	slow       bool // connecting takes so long that calls go elsewhere
	retired    bool
	failures   int
	restUntil  time.Time // after a failure: other providers are preferred until then
	waiting    map[*routing]struct{}
}

// ailing says whether the provider could not be reached just now, or takes its
// time.
func (h *provider) ailing(now time.Time) bool {
	if h.current.Load() != nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.slow || now.Before(h.restUntil)
}

// acquire gives a routing the provider's session, as soon as there is one.
func (h *provider) acquire(w *routing) {
	h.mu.Lock()
	if s := h.current.Load(); s != nil {
		h.mu.Unlock()
		w.fn(s, h.addr, nil)
		return
	}
	h.waiting[w] = struct{}{}
	start := !h.connecting
	h.connecting = true
	h.mu.Unlock()
	if start {
		go h.connect()
	}
}

func (h *provider) forget(w *routing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, w)
}

// connectPatience is how long calls wait for a connection to be opened before
// they try another provider.
const connectPatience = 300 * time.Millisecond

// takeLong sends the calls that wait for the connection to other providers. Those
// that find none come back.
func (h *provider) takeLong() {
	h.mu.Lock()
	if !h.connecting {
		h.mu.Unlock()
		return
	}
	h.slow = true
	waiting := h.waiting
	h.waiting = make(map[*routing]struct{})
	h.mu.Unlock()
	for w := range waiting {
		w.call.failed(h.addr, &abstract.Error{Code: abstract.Unavailable, Message: "connecting to " + h.addr + " takes long", Sent: abstract.SentNo})
	}
}

// connect makes one try to open the connection, and tells who waits for it.
func (h *provider) connect() {
	patience := time.AfterFunc(connectPatience, h.takeLong)
	s, err := h.owner.wire.open(h.owner.client.ctx, h.addr, h.how, h.lost)
	patience.Stop()
	h.mu.Lock()
	h.connecting, h.slow = false, false
	waiting := h.waiting
	h.waiting = make(map[*routing]struct{})
	unwanted := h.retired
	if err == nil {
		h.failures = 0
		select {
		case <-s.Done(): // lost already, and lost() has not found it
		default:
			h.current.Store(s)
		}
	} else {
		h.restUntil = time.Now().Add(backoff(&h.owner.client.cfg, h.failures))
		h.failures++
	}
	h.mu.Unlock()
	for w := range waiting {
		if err == nil {
			w.fn(s, h.addr, nil)
		} else {
			w.call.failed(h.addr, asError(err))
		}
	}
	if err == nil && unwanted {
		s.leaveWhenIdle(h.owner.client.ctx)
	}
}

// lost is called by a session that is gone; its calls have ended.
func (h *provider) lost(s *session, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current.CompareAndSwap(s, nil) {
		h.restUntil = time.Now().Add(backoff(&h.owner.client.cfg, h.failures))
	}
}

// retire closes the connection of a provider that went OFFLINE: calls in flight
// may end first, new ones do not come here.
func (h *provider) retire() {
	h.mu.Lock()
	h.retired = true
	s := h.current.Load()
	h.mu.Unlock()
	if s != nil {
		go s.leaveWhenIdle(h.owner.client.ctx)
	}
}

func (h *provider) close() {
	h.mu.Lock()
	h.retired = true
	s := h.current.Load()
	waiting := h.waiting
	h.waiting = make(map[*routing]struct{})
	h.mu.Unlock()
	for w := range waiting {
		w.fn(nil, "", &abstract.Error{Code: abstract.Disconnected, Message: "the client was closed", Sent: abstract.SentNo})
	}
	if s != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.leave(ctx, "the client closes")
	}
}
