package client

import (
	"context"
	"slices"
	"strings"
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
	on        *session // the last one that was restored
	sessions  uint64   // its number
	listeners map[*listener]struct{}
	calls     *serial // runs the listeners' callbacks
	following sync.WaitGroup
	closed    bool
	away      bool // the broker could not be reached the last time
	rechecked bool // the goroutine that asks again runs
	saved     saved
	reports   reports
}

// followed is one method that was asked about.
type followed struct {
	method    string
	roster    roster
	saved     []abstract.Provider // from a time before this process; used when there is no answer
	problem   error               // why the last question that nobody waits for was not answered with a list
	waiting   bool                // somebody sees to it that the next question goes out
	later     *time.Timer         // until it is asked again; nil: it was never refused
	holding   *time.Timer         // until somebody who is held is given up
	followers map[*follower]struct{}
}

// follower is somebody who wants to see one method's changes. It remembers what
// it has seen, so that changes can be put together without hiding one.
type follower struct {
	of      *followed
	told    bool
	seen    []abstract.Provider                 // when it was told last
	held    []abstract.Provider                 // of those
	bounced []abstract.Provider                 // of seen: went since, though it may be back
	reasons map[identity]abstract.OfflineReason // of those that went since
	changed chan struct{}                       // holds an element while there is something to take
}

// listener is a callback for what comes and goes, of every method.
type listener struct {
	online  func(abstract.Provider)
	offline func(abstract.Provider, abstract.OfflineReason)
	stopped atomic.Bool
}

func (d *discoveries) init(c *Conn) {
	d.conn, d.calls = c, newSerial()
	d.methods, d.listeners = make(map[string]*followed), make(map[*listener]struct{})
	dispatch.On(c.wire.dispatch, abstract.ReqService, d.onServiceRequest)
	d.saved.init(c)
}

// method returns the entry of a method. It is called with the lock held.
func (d *discoveries) method(name string) *followed {
	m := d.methods[name]
	if m != nil {
		return m
	}
	m = &followed{method: name, followers: make(map[*follower]struct{})}
	m.roster.meet(d.sessions)
	d.methods[name] = m
	if m.saved = d.saved.of(name); len(m.saved) > 0 {
		d.awaitAnswer(m)
	}
	if every := d.conn.cfg.recheck; every > 0 && !d.rechecked {
		d.rechecked = d.conn.tasks.run(func() { d.recheck(every) })
	}
	return m
}

// discover asks the broker, and from then on hears of the method's changes.
func (d *discoveries) discover(ctx context.Context, method string) ([]abstract.Provider, error) {
	d.mu.Lock()
	m := d.method(method)
	d.mu.Unlock()
	op := "discover " + method
	rsp, err := d.conn.askOn(ctx, op, true, func(s *session, deadline time.Time) (abstract.BaseMessage, error) {
		q := d.wholeQuestion(m, s)
		return s.ask(ctx, deadline, request{
			want: abstract.RspService, build: discoverRequest(m.method, q),
			see: func(rsp abstract.BaseMessage) { d.see(m, q, rsp.(*message.ServiceResponse)) },
		})
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

// wholeQuestion is one on a session for somebody who waits for its answer.
func (d *discoveries) wholeQuestion(m *followed, s *session) question {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s != d.on {
		return question{} // its answer says nothing of now
	}
	return m.roster.whole()
}

func discoverRequest(method string, q question) func(id string) abstract.BaseMessage {
	return func(id string) abstract.BaseMessage {
		return &message.ServiceRequest{Header: message.ID(id), Op: abstract.ServiceDiscover, Method: method, Revision: q.revision}
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

// see takes an answer that somebody waits for in order with the notices that come
// after it.
func (d *discoveries) see(m *followed, q question, rsp *message.ServiceResponse) {
	if list, err := hostsOf(m.method, rsp); err == nil && d.take(m, q, rsp, list) {
		d.doubt(m.method)
	}
}

// answered takes the answer to a question that nobody waits for, and says whether
// most providers have vanished.
func (d *discoveries) answered(m *followed, q question, rsp *message.ServiceResponse) (fell bool) {
	list, err := hostsOf(m.method, rsp)
	if err != nil {
		d.refused(m, q, err)
		return false
	}
	return d.take(m, q, rsp, list)
}

func (d *discoveries) take(m *followed, q question, rsp *message.ServiceResponse, list []abstract.Provider) (fell bool) {
	return d.happen(m, abstract.OfflineVanished, func(now time.Time) advice {
		return m.roster.answer(q, answer{rsp.Revision, rsp.Unchanged, list}, now, d.conn.cfg.grace)
	}).fell
}

// onServiceRequest takes the notices online and offline.
func (d *discoveries) onServiceRequest(s *session, n *message.ServiceRequest) {
	if n.Host == nil || n.Op != abstract.ServiceOnline && n.Op != abstract.ServiceOffline {
		return
	}
	d.mu.Lock()
	m, session := d.methods[n.Method], d.sessions
	if s != d.on {
		m = nil
	}
	d.mu.Unlock()
	if m == nil {
		return
	}
	p := abstract.Provider{Method: n.Method, Host: *n.Host, Instance: n.Instance, Hello: n.Hello, Traits: n.Traits}
	why := abstract.OfflineReplaced
	if n.Op == abstract.ServiceOffline {
		why = abstract.OfflineReason(strings.Clone(n.Reason)) // it may lie in a received frame
	}
	d.happen(m, why, func(time.Time) advice {
		return m.roster.notice(session, news{n.Revision, n.Op == abstract.ServiceOffline, p})
	})
}

// happen lets an event happen to a method's roster, tells who wants to know what it
// has changed, and why those have gone who have, and asks when something was missed.
func (d *discoveries) happen(m *followed, why abstract.OfflineReason, event func(now time.Time) advice) advice {
	d.mu.Lock()
	now := time.Now()
	known, before := m.roster.known, m.roster.list
	out := event(now)
	if m.roster.answered {
		m.problem = nil
	}
	if !known && m.roster.known || out.changed {
		d.change(m, before, known, why)
		d.listsChanged()
	}
	d.hold(m, now) // also when nothing has changed but for how long somebody is held
	d.mu.Unlock()
	if out.ask {
		d.askSoon(m)
	}
	return out
}

// change tells who wants to know that a method's list has changed, or is known for
// the first time. It is called with the lock held.
func (d *discoveries) change(m *followed, before []abstract.Provider, known bool, why abstract.OfflineReason) {
	list := m.roster.list
	online, offline := difference(list, before), difference(before, list)
	for f := range m.followers {
		f.bounced = append(f.bounced, difference(overlap(f.seen, offline), f.bounced)...)
		f.note(overlap(f.seen, offline), why)
		f.wake()
	}
	if !known {
		return
	}
	for l := range d.listeners {
		d.tell(l, online, offline, why)
	}
}

// hold sets the timer that gives up who is held, with the lock held.
func (d *discoveries) hold(m *followed, now time.Time) {
	if m.holding != nil {
		m.holding.Stop()
		m.holding = nil
	}
	if end := m.roster.wake(); !end.IsZero() && !d.closed {
		m.holding = time.AfterFunc(end.Sub(now), func() { d.release(m) })
	}
}

// release stops believing in providers that did not come back.
func (d *discoveries) release(m *followed) {
	if d.conn.down() { // the next restore looks again
		return
	}
	d.happen(m, abstract.OfflineVanished, m.roster.expire)
}

// tell queues the calls of a listener.
func (d *discoveries) tell(l *listener, online, offline []abstract.Provider, why abstract.OfflineReason) {
	queue := func(fn func()) {
		d.calls.run(func() {
			if !l.stopped.Load() {
				fn()
			}
		})
	}
	if l.offline != nil {
		for _, p := range offline {
			queue(func() { l.offline(p, why) })
		}
	}
	if l.online != nil {
		for _, p := range online {
			queue(func() { l.online(p) })
		}
	}
}

// follow makes a follower of a method. When nobody has an answer yet, a question
// goes out in the background.
func (d *discoveries) follow(method string) *follower {
	d.mu.Lock()
	m := d.method(method)
	f := &follower{of: m, changed: make(chan struct{}, 1)}
	m.followers[f] = struct{}{}
	if m.roster.known {
		f.changed <- struct{}{}
	}
	ask := !m.roster.answered && m.roster.open == 0 && !m.waiting
	m.waiting = m.waiting || ask
	d.mu.Unlock()
	if ask {
		d.askSoon(m)
	}
	return f
}

// take returns what changed since the follower was told last; not ok when
// nothing did after all.
func (d *discoveries) taken(f *follower) (abstract.Providers, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &f.of.roster
	if !r.known {
		return abstract.Providers{Err: f.of.problem}, f.of.problem != nil
	}
	p := abstract.Providers{List: r.list, Held: r.held, Online: difference(r.list, f.seen), Offline: difference(f.seen, r.list)}
	back := overlap(f.bounced, r.list) // they went and came back
	p.Offline, p.Online = append(p.Offline, back...), append(p.Online, back...)
	if f.told && len(p.Online)+len(p.Offline) == 0 && slices.Equal(r.list, f.seen) && slices.Equal(r.held, f.held) {
		return p, false
	}
	p.Reasons = f.reasonsOf(p.Offline)
	f.told, f.seen, f.held, f.bounced = true, r.list, r.held, nil
	return p, true
}

// note remembers why providers have gone.
func (f *follower) note(gone []abstract.Provider, why abstract.OfflineReason) {
	if len(gone) > 0 && f.reasons == nil {
		f.reasons = make(map[identity]abstract.OfflineReason)
	}
	for i := range gone {
		f.reasons[identityOf(&gone[i])] = why
	}
}

// reasonsOf returns why providers have gone, and forgets it.
func (f *follower) reasonsOf(gone []abstract.Provider) (reasons []abstract.OfflineReason) {
	for i := range gone {
		reasons = append(reasons, f.reasons[identityOf(&gone[i])])
	}
	f.reasons = nil
	return reasons
}

// overlap returns those of a that are in b, too.
func overlap(a, b []abstract.Provider) []abstract.Provider {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	return difference(a, difference(a, b))
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

// heldOf returns who is held of a method's providers.
func (d *discoveries) heldOf(method string) []abstract.Provider {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.methods[method]; m != nil {
		return m.roster.held
	}
	return nil
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

// close ends timers and callbacks.
func (d *discoveries) close() {
	d.mu.Lock()
	d.closed = true
	d.listeners = make(map[*listener]struct{})
	for _, m := range d.methods {
		for _, timer := range []*time.Timer{m.holding, m.later} {
			if timer != nil {
				timer.Stop()
			}
		}
	}
	d.mu.Unlock()
	d.closeSaved()
	d.calls.close()
	d.following.Wait()
}
