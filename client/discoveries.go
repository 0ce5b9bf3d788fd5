package client

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/concrete/message"
)

// discoveries is what a Conn knows of providers. Everything in it is behind one
// lock; users are told outside of it.
type discoveries struct {
	conn *Conn

	mu        sync.Mutex
	methods   map[string]*followed
	listeners map[*listener]struct{}
	calls     *serial // runs the listeners' callbacks
	following sync.WaitGroup
	closed    bool
}

// followed is one method that was asked about.
type followed struct {
	method    string
	known     bool                // the broker has answered
	asking    bool                // a question is on its way that nobody waits for
	problem   error               // why the last such question was not answered with a list
	list      []abstract.Provider // replaced, never changed
	held      []abstract.Provider // part of list that a reconnected broker does not know; believed in for a while
	later     *time.Timer         // until it is asked again; nil: it was never refused
	holding   *time.Timer         // ends that while
	followers map[*follower]struct{}
}

// follower is somebody who wants to see one method's changes. It remembers what
// it has seen, so that changes can be put together without hiding one.
type follower struct {
	of      *followed
	told    bool
	seen    []abstract.Provider // when it was told last
	bounced []abstract.Provider // of seen: went since, though it may be back
	changed chan struct{}       // holds an element while there is something to take
}

// listener is a callback for what comes and goes, of every method.
type listener struct {
	online, offline func(abstract.Provider)
	stopped         atomic.Bool
}

func (d *discoveries) init(c *Conn) {
	d.conn, d.calls = c, newSerial()
	d.methods, d.listeners = make(map[string]*followed), make(map[*listener]struct{})
	dispatch.On(c.wire.dispatch, abstract.ReqService, d.onServiceRequest)
}

// method returns the entry of a method. It is called with the lock held.
func (d *discoveries) method(name string) *followed {
	m := d.methods[name]
	if m == nil {
		m = &followed{method: name, followers: make(map[*follower]struct{})}
		d.methods[name] = m
	}
	return m
}

// discover asks the broker, and from then on hears of the method's changes.
func (d *discoveries) discover(ctx context.Context, method string) ([]abstract.Provider, error) {
	d.mu.Lock()
	d.method(method)
	d.mu.Unlock()
	op := "discover " + method
	rsp, err := d.conn.ask(ctx, op, request{
		want: abstract.RspService, harmless: true, build: discoverRequest(method),
		see: func(m abstract.BaseMessage) { d.see(method, m.(*message.ServiceResponse)) },
	})
	if err != nil {
		return nil, err
	}
	list, err := hostsOf(method, rsp.(*message.ServiceResponse))
	if err != nil {
		return nil, decorate(asError(err), op, 1, d.conn.addr)
	}
	return list, nil
}

// see takes an answer in order with the notices that come after it.
func (d *discoveries) see(method string, rsp *message.ServiceResponse) {
	list, err := hostsOf(method, rsp)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set(d.methods[method], list)
}

func discoverRequest(method string) func(id string) abstract.BaseMessage {
	return func(id string) abstract.BaseMessage {
		return &message.ServiceRequest{Header: message.ID(id), Op: abstract.ServiceDiscover, Method: method}
	}
}

// hostsOf reads a discovery's answer. Nobody is an empty list.
func hostsOf(method string, rsp *message.ServiceResponse) ([]abstract.Provider, error) {
	if rsp.Code != abstract.OK && rsp.Code != abstract.ServiceNotFound {
		return nil, refused("", rsp.Code, rsp.Message, "")
	}
	list := make([]abstract.Provider, len(rsp.Hosts))
	for i, h := range rsp.Hosts {
		list[i] = abstract.Provider{Method: method, Host: h.Host, Instance: h.Instance, Hello: h.Hello, Traits: h.Traits}
	}
	return list, nil
}

// follow makes a follower of a method. When nobody has an answer yet, a question
// goes out in the background.
func (d *discoveries) follow(method string) *follower {
	d.mu.Lock()
	m := d.method(method)
	f := &follower{of: m, changed: make(chan struct{}, 1)}
	m.followers[f] = struct{}{}
	if m.known {
		f.changed <- struct{}{}
	}
	ask := !m.known && !m.asking
	m.asking = m.asking || ask
	d.mu.Unlock()
	if ask {
		d.askSoon(m)
	}
	return f
}

// askSoon asks about a method in the background. When the connection is down,
// the restore after the reconnect asks; a refusal is repeated after a while.
func (d *discoveries) askSoon(m *followed) {
	d.conn.acquire(func(s *session, err error) {
		if err != nil { // closed, and nobody is to be told
			return
		}
		s.begin(time.Now().Add(d.conn.cfg.timeout), abstract.RspService, discoverRequest(m.method), func(rsp abstract.BaseMessage, err error) {
			switch {
			case err == nil:
				d.answered(m, rsp.(*message.ServiceResponse))
			case abstract.CodeOf(err) == abstract.Disconnected:
				go d.askNext(m, s) // not here: the session may still be the current one
			default:
				d.askLater(m)
			}
		})
	})
}

// askNext is askSoon when a session that is ending has ended.
func (d *discoveries) askNext(m *followed, s *session) {
	select {
	case <-s.gone:
		d.askSoon(m)
	case <-d.conn.ctx.Done():
	}
}

func (d *discoveries) askLater(m *followed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.later != nil {
		m.later.Stop() // one chain of questions is enough
	}
	m.later = time.AfterFunc(d.conn.cfg.backoffMax/2+backoff(&d.conn.cfg, 20)/2, func() {
		if d.conn.ctx.Err() == nil {
			d.askSoon(m)
		}
	})
}

// answered takes the answer to a question that nobody waits for.
func (d *discoveries) answered(m *followed, rsp *message.ServiceResponse) {
	list, err := hostsOf(m.method, rsp)
	if err != nil {
		d.refused(m, err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m.asking = false
	d.set(m, list)
}

// refused tells who has no list yet why, and asks again later.
func (d *discoveries) refused(m *followed, err error) {
	e := decorate(asError(err), "discover "+m.method, 1, d.conn.addr)
	d.conn.report(e)
	d.mu.Lock()
	m.asking, m.problem = true, e
	for f := range m.followers {
		f.wake()
	}
	d.mu.Unlock()
	d.askLater(m)
}

// wake says that there is something to take.
func (f *follower) wake() {
	select {
	case f.changed <- struct{}{}:
	default: // it has not taken the last change yet, and takes both together
	}
}

func (d *discoveries) unfollow(f *follower) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(f.of.followers, f)
}

// onServiceRequest takes the notices online and offline.
func (d *discoveries) onServiceRequest(_ *session, n *message.ServiceRequest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.methods[n.Method]
	if m == nil || !m.known || n.Host == nil {
		return
	}
	p := abstract.Provider{Method: n.Method, Host: *n.Host, Instance: n.Instance, Hello: n.Hello, Traits: n.Traits}
	others := without(m.list, p.Host)
	m.held = without(m.held, p.Host)
	switch n.Op {
	case abstract.ServiceOnline:
		d.change(m, append(slices.Clip(others), p))
	case abstract.ServiceOffline:
		d.change(m, others)
	}
}

// set takes a broker's list, and with it those that are believed in for a while
// still. It is called with the lock held.
func (d *discoveries) set(m *followed, list []abstract.Provider) {
	m.held = difference(m.held, list)
	d.change(m, append(slices.Clip(list), m.held...))
}

// without returns list less the provider at host; the same slice when it is not there.
func without(list []abstract.Provider, host abstract.Host) []abstract.Provider {
	i := slices.IndexFunc(list, func(p abstract.Provider) bool { return p.Host == host })
	if i < 0 {
		return list
	}
	return slices.Delete(slices.Clone(list), i, i+1)
}

// difference returns what of a is not in b.
func difference(a, b []abstract.Provider) []abstract.Provider {
	var only []abstract.Provider
	for _, p := range a {
		if len(without(b, p.Host)) == len(b) {
			only = append(only, p)
		}
	}
	return only
}

// change replaces a method's list and tells who wants to know. It is called with
// the lock held.
func (d *discoveries) change(m *followed, list []abstract.Provider) {
	first := !m.known
	online, offline := difference(list, m.list), difference(m.list, list)
	changed := !slices.Equal(m.list, list) // also when what a provider says of itself has
	m.list, m.known, m.problem = list, true, nil
	if !first && !changed {
		return
	}
	for f := range m.followers {
		for _, p := range offline {
			if len(without(f.seen, p.Host)) < len(f.seen) && len(without(f.bounced, p.Host)) == len(f.bounced) {
				f.bounced = append(f.bounced, p)
			}
		}
		f.wake()
	}
	if first {
		return
	}
	for l := range d.listeners {
		d.tell(l, online, offline)
	}
}

// tell queues the calls of a listener.
func (d *discoveries) tell(l *listener, online, offline []abstract.Provider) {
	queue := func(fn func(abstract.Provider), list []abstract.Provider) {
		if fn == nil {
			return
		}
		for _, p := range list {
			d.calls.run(func() {
				if !l.stopped.Load() {
					fn(p)
				}
			})
		}
	}
	queue(l.offline, offline)
	queue(l.online, online)
}

// take returns what changed since the follower was told last; not ok when
// nothing did after all.
func (d *discoveries) take(f *follower) (abstract.Providers, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := f.of.list
	if !f.of.known {
		return abstract.Providers{Err: f.of.problem}, f.of.problem != nil
	}
	p := abstract.Providers{List: list, Online: difference(list, f.seen), Offline: difference(f.seen, list)}
	for _, b := range f.bounced {
		if len(without(list, b.Host)) < len(list) { // it went and came back
			p.Offline, p.Online = append(p.Offline, b), append(p.Online, b)
		}
	}
	if f.told && len(p.Online)+len(p.Offline) == 0 && slices.Equal(list, f.seen) {
		return p, false
	}
	f.told, f.seen, f.bounced = true, list, nil
	return p, true
}

func (d *discoveries) listen(l *listener) (stop func()) {
	d.mu.Lock()
	d.listeners[l] = struct{}{}
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		delete(d.listeners, l)
		d.mu.Unlock()
		l.stopped.Store(true)
	}
}

// restore asks again about every method.
func (d *discoveries) restore(ctx context.Context, s *session) error {
	d.mu.Lock()
	requests := make([]request, 0, len(d.methods))
	for _, m := range d.methods {
		requests = append(requests, request{
			want: abstract.RspService, build: discoverRequest(m.method),
			see: func(rsp abstract.BaseMessage) { d.restored(m, rsp.(*message.ServiceResponse)) },
		})
	}
	d.mu.Unlock()
	return s.askAll(ctx, requests)
}

// restored takes the list of a broker that we have just come back to. Providers
// it does not know have perhaps not come back yet themselves: they are believed
// in for a while, and so an unreachable broker never looks like an OFFLINE.
func (d *discoveries) restored(m *followed, rsp *message.ServiceResponse) {
	list, err := hostsOf(m.method, rsp)
	if err != nil {
		d.refused(m, err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m.asking = false
	if m.holding != nil {
		m.holding.Stop()
	}
	missing := difference(m.list, list)
	if len(missing) == 0 {
		d.set(m, list)
		return
	}
	m.held = missing
	d.change(m, append(slices.Clip(list), missing...))
	m.holding = time.AfterFunc(d.conn.cfg.grace, func() { d.release(m) })
}

// release stops believing in providers that did not come back.
func (d *discoveries) release(m *followed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.conn.down() { // the next restore looks again
		return
	}
	list := m.list
	for _, p := range m.held {
		list = without(list, p.Host)
	}
	m.held = nil
	d.change(m, list)
}

// close ends timers and callbacks.
func (d *discoveries) close() {
	d.mu.Lock()
	d.closed = true
	d.listeners = make(map[*listener]struct{})
	for _, m := range d.methods {
		if m.holding != nil {
			m.holding.Stop()
		}
	}
	d.mu.Unlock()
	d.calls.close()
	d.following.Wait()
}
