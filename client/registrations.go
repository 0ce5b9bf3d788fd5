package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// registrations is what a Conn keeps registered.
type registrations struct {
	conn     *Conn
	mu       sync.Mutex
	wants    map[abstract.Provider]*wish // by nameOf
	stands   []batch                     // what the session that is being made has been told
	retrying map[abstract.Provider]bool  // those that the broker has refused after a reconnect
	beating  bool                        // the goroutine that renews runs
	sooner   chan struct{}               // holds an element when it is to look again
}

// wish is a provider that is to be registered.
type wish struct {
	traits abstract.Traits
	ttl    time.Duration
	at     abstract.Host // where the broker has put it; zero: not known
	due    time.Time     // with a TTL: the next heartbeat
	until  time.Time     // with a TTL that nobody renews by itself: the end of the wish
}

func (r *registrations) init(c *Conn) {
	r.conn, r.wants = c, make(map[abstract.Provider]*wish)
	r.retrying = make(map[abstract.Provider]bool)
	r.sooner = make(chan struct{}, 1)
}

// nameOf is what a provider is told apart by.
func nameOf(p abstract.Provider) abstract.Provider {
	return abstract.Provider{Method: p.Method, Host: p.Host, Instance: p.Instance}
}

// want notes wishes, and returns what takes them back: those before stand again.
func (r *registrations) want(b batch) (undo func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := make([]*wish, len(b.methods))
	for i, p := range b.providers() {
		before[i] = r.wants[nameOf(p)]
		w := &wish{traits: p.Traits, ttl: p.TTL}
		if before[i] != nil {
			w.at = before[i].at
		}
		r.renewed(w, time.Now())
		r.wants[nameOf(p)] = w
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, p := range b.providers() {
			if r.wants[nameOf(p)] = before[i]; before[i] == nil {
				delete(r.wants, nameOf(p))
			}
		}
	}
}

// wanted returns what is wanted at now, in batches. Wishes that nobody has renewed in
// time are dropped. It is called with the lock held.
func (r *registrations) wanted(now time.Time) []batch {
	all := make([]abstract.Provider, 0, len(r.wants))
	for p, w := range r.wants {
		if !w.until.IsZero() && now.After(w.until) {
			delete(r.wants, p)
			continue
		}
		p.Traits, p.TTL = w.traits, w.ttl
		all = append(all, p)
	}
	return batches(all)
}

func (r *registrations) register(ctx context.Context, providers []abstract.Provider) ([]abstract.Provider, error) {
	all := batches(providers)
	undo := make([]func(), len(all))
	for i, b := range all {
		undo[i] = r.want(b)
	}
	r.beat()
	var problems []error
	for i, b := range all {
		if err := r.tell(ctx, abstract.ServiceRegister, b); err != nil {
			problems = append(problems, err)
			if hasRefused(err) {
				undo[i]()
			}
		}
	}
	if err := joined(problems); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := make([]abstract.Provider, len(providers))
	for i, p := range providers {
		at[i] = r.placed(p)
	}
	return at, nil
}

// hasRefused says whether a request failed in a way that a reconnect does not change.
func hasRefused(err error) bool {
	e := asError(err)
	switch e.Code {
	case abstract.Disconnected, abstract.Unavailable, abstract.Timeout, abstract.Cancelled, abstract.Overloaded:
		return e.FromPeer
	}
	return true
}

// joined is errors.Join that leaves one error as it is.
func joined(problems []error) error {
	if len(problems) == 1 {
		return problems[0]
	}
	return errors.Join(problems...)
}

// placed returns p with the address at which the broker has it. It is called with the
// lock held.
func (r *registrations) placed(p abstract.Provider) abstract.Provider {
	if w := r.wants[nameOf(p)]; w != nil && p.Host.IP == "" && w.at.IP != "" {
		p.Host = w.at
	}
	return p
}

// located returns a batch with the address at which the broker has it.
func (r *registrations) located(b batch) batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	b.host = r.placed(b.providers()[0]).Host
	return b
}

// tell makes a request about a batch, and returns when the broker has done it.
func (r *registrations) tell(ctx context.Context, op abstract.ServiceOp, b batch) error {
	name := op.String() + " " + b.methods[0]
	m, err := r.conn.askOn(ctx, name, true, func(s *session, deadline time.Time) (abstract.BaseMessage, error) {
		return r.tellOn(ctx, s, deadline, op, b)
	})
	if err != nil {
		return err
	}
	if rsp := m.(*message.ServiceResponse); rsp.Code != abstract.OK {
		return refused(name, rsp.Code, rsp.Message, r.conn.addr)
	}
	return nil
}

// tellOn is tell on a session. It returns the first answer that refuses, if one does.
func (r *registrations) tellOn(ctx context.Context, s *session, deadline time.Time, op abstract.ServiceOp, b batch) (abstract.BaseMessage, error) {
	if !s.modern() && b.host.IP == "" {
		return nil, abstract.Errorf(abstract.InvalidParams, "this registry does not look where a provider is; give the provider's IP")
	}
	known := b
	if op != abstract.ServiceRegister {
		known = r.located(b)
	}
	var m abstract.BaseMessage
	for _, q := range known.requests(op, s.modern()) {
		q.see = func(m abstract.BaseMessage) { r.seen(op, b, m.(*message.ServiceResponse)) }
		var err error
		if m, err = s.ask(ctx, deadline, q); err != nil || m.(*message.ServiceResponse).Code != abstract.OK {
			return m, err
		}
	}
	return m, nil
}

// seen takes from an answer where a batch is now, and that it was renewed.
func (r *registrations) seen(op abstract.ServiceOp, b batch, rsp *message.ServiceResponse) {
	if rsp.Code != abstract.OK || op == abstract.ServiceUnregister {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, p := range b.providers() {
		w := r.wants[nameOf(p)]
		if w == nil {
			continue
		}
		if rsp.Registered != nil {
			w.at = *rsp.Registered
		}
		r.renewed(w, now)
	}
}

func (r *registrations) unregister(ctx context.Context, providers []abstract.Provider) error {
	var problems []error
	for _, b := range batches(r.dropAll(providers)) {
		if err := r.takeBack(ctx, b); err != nil {
			problems = append(problems, err)
		}
	}
	return joined(problems)
}

// dropAll ends wishes, and returns those that there were as the broker knows them.
func (r *registrations) dropAll(providers []abstract.Provider) []abstract.Provider {
	r.mu.Lock()
	defer r.mu.Unlock()
	var dropped []abstract.Provider
	for _, p := range providers {
		name, known := r.find(p)
		if !known {
			continue
		}
		dropped = append(dropped, r.placed(name))
		delete(r.wants, name)
	}
	return dropped
}

// find returns the name of the wish for p, who may be named by the address at which the
// broker has it. It is called with the lock held.
func (r *registrations) find(p abstract.Provider) (name abstract.Provider, known bool) {
	name = nameOf(p)
	if r.wants[name] != nil {
		return name, true
	}
	name.Host.IP = ""
	w := r.wants[name]
	return name, w != nil && w.at == p.Host
}

// takeBack unregisters what is not wanted any more.
func (r *registrations) takeBack(ctx context.Context, b batch) error {
	op := "unregister " + b.methods[0]
	if r.conn.Connected() && !r.conn.Modern() {
		return &abstract.Error{Code: abstract.Unsupported, Op: op, Message: "this registry forgets a provider only when its connection closes", Instance: r.conn.addr}
	}
	s := r.conn.current.Load()
	if s == nil {
		return nil // the broker forgets us with the connection, and we do not come back
	}
	m, err := r.tellOn(ctx, s, time.Now().Add(r.conn.cfg.timeout), abstract.ServiceUnregister, b)
	if e := asError(err); err != nil && e.Code == abstract.Disconnected {
		return nil // the same
	} else if err != nil {
		return decorate(e, op, 1, r.conn.addr)
	}
	if rsp := m.(*message.ServiceResponse); rsp.Code != abstract.OK {
		return refused(op, rsp.Code, rsp.Message, r.conn.addr)
	}
	return nil
}

// restore registers everything again.
func (r *registrations) restore(ctx context.Context, s *session) error {
	r.mu.Lock()
	wants := r.wanted(time.Now())
	r.mu.Unlock()
	var requests []request
	for _, b := range wants {
		for i, q := range b.requests(abstract.ServiceRegister, s.modern()) {
			part := b
			if !s.modern() {
				part = b.one(i)
			}
			q.see = func(m abstract.BaseMessage) { r.restored(part, m.(*message.ServiceResponse)) }
			requests = append(requests, q)
		}
	}
	if err := s.askAll(ctx, requests); err != nil {
		return err
	}
	r.mu.Lock()
	r.stands = wants
	r.mu.Unlock()
	return nil
}

// settle undoes what was unregistered while it was being restored on s, which is the
// current session by now: who unregisters from here on tells it.
func (r *registrations) settle(ctx context.Context, s *session) error {
	r.mu.Lock()
	restored := r.stands
	r.stands = nil
	r.mu.Unlock()
	var requests []request
	for _, b := range r.unwanted(restored) {
		requests = append(requests, b.requests(abstract.ServiceUnregister, s.modern())...)
	}
	return s.askAll(ctx, requests)
}

// unwanted returns what was unregistered while it was being restored.
func (r *registrations) unwanted(restored []batch) []batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []abstract.Provider
	for _, b := range restored {
		for _, p := range b.providers() {
			if r.wants[nameOf(p)] == nil {
				gone = append(gone, p)
			}
		}
	}
	return batches(gone)
}

// restored looks at the answer to a batch that was restored. One that is refused is
// tried again: the broker had taken it before. As one provider may be the reason that
// all of a batch are refused, each goes on alone.
func (r *registrations) restored(b batch, rsp *message.ServiceResponse) {
	if rsp.Code == abstract.OK {
		r.seen(abstract.ServiceRegister, b, rsp)
		return
	}
	r.conn.report(refused("register "+b.methods[0], rsp.Code, rsp.Message, r.conn.addr))
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, p := range b.providers() {
		name := nameOf(p)
		if r.retrying[name] {
			continue
		}
		r.retrying[name] = true
		pause := backoff(&r.conn.cfg, firstRetry)
		if len(b.methods) > 1 {
			pause = 0
		}
		part := b.one(i)
		if !r.conn.tasks.run(func() { r.retry(part, pause) }) {
			delete(r.retrying, name)
		}
	}
}

// firstRetry is after how many tries in a row the first pause is taken to be.
const firstRetry = 2

// retry registers one provider until it succeeds or nobody wants it any more.
func (r *registrations) retry(b batch, pause time.Duration) {
	name := nameOf(b.providers()[0])
	defer func() {
		r.mu.Lock()
		delete(r.retrying, name)
		r.mu.Unlock()
	}()
	for try := firstRetry; ; try++ {
		select {
		case <-r.conn.ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = backoff(&r.conn.cfg, try+1)
		r.mu.Lock()
		w := r.wants[name]
		if w == nil {
			r.mu.Unlock()
			return
		}
		b.traits, b.ttl = w.traits, w.ttl
		r.mu.Unlock()
		if r.tell(r.conn.ctx, abstract.ServiceRegister, b) == nil {
			for _, undo := range r.unwanted([]batch{b}) { // unregistered while we waited
				_ = r.tell(r.conn.ctx, abstract.ServiceUnregister, undo) // else it ends with the connection
			}
			return
		}
	}
}
