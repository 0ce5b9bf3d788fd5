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
	wants    map[name]*wish
	wishes   uint64        // how many times something was wished for
	stands   []batch       // what the session that is being made has been told
	retrying map[name]bool // those that the broker has refused after a reconnect
	beating  bool          // the goroutine that renews runs
	nextBeat time.Time     // when it is going to look
	sooner   chan struct{} // holds an element when it is to look again
}

// wish is a provider that is to be registered.
type wish struct {
	number uint64
	traits abstract.Traits
	ttl    time.Duration
	at     abstract.Host // where the broker has put it; zero: not known
	due    time.Time     // with a TTL: the next heartbeat
	until  time.Time     // with a TTL that nobody renews by itself: the end of the wish
}

func (r *registrations) init(c *Conn) {
	r.conn, r.wants = c, make(map[name]*wish)
	r.retrying = make(map[name]bool)
	r.sooner = make(chan struct{}, 1)
}

// name is what a provider is told apart by.
type name struct {
	method   string
	host     abstract.Host
	instance string
}

func nameOf(p *abstract.Provider) name { return name{p.Method, p.Host, p.Instance} }

// as is the provider of a name that is wished for.
func (n name) as(w *wish) abstract.Provider {
	return abstract.Provider{Method: n.method, Host: n.host, Instance: n.instance, TTL: w.ttl, Traits: w.traits}
}

// wanted is what want has done.
type wanted struct {
	number uint64  // of the wishes
	before []*wish // those that stood before them; nil: none
}

// want notes wishes.
func (r *registrations) want(b *batch) (x wanted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wishes++
	x.number = r.wishes
	for i := range b.methods {
		n := b.name(i)
		w := &wish{number: x.number, traits: b.traits, ttl: b.ttl}
		if was := r.wants[n]; was != nil {
			if x.before == nil {
				x.before = make([]*wish, len(b.methods))
			}
			x.before[i], w.at = was, was.at
		}
		r.renewed(w)
		r.wants[n] = w
		r.beat(w)
	}
	return x
}

// unwant takes wishes back: those before stand again, where no others have come since.
func (r *registrations) unwant(b *batch, x wanted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range b.methods {
		n := b.name(i)
		switch w := r.wants[n]; {
		case w == nil || w.number != x.number:
		case len(x.before) == 0 || x.before[i] == nil:
			delete(r.wants, n)
		default:
			r.wants[n] = x.before[i]
			r.beat(x.before[i])
		}
	}
}

// everything returns what is wanted at now, in batches. Wishes that nobody has renewed in
// time are dropped. It is called with the lock held.
func (r *registrations) everything(now time.Time) []batch {
	all := make([]abstract.Provider, 0, len(r.wants))
	for n, w := range r.wants {
		if !w.until.IsZero() && now.After(w.until) {
			delete(r.wants, n)
			continue
		}
		all = append(all, n.as(w))
	}
	return batches(all)
}

func (r *registrations) register(ctx context.Context, providers []abstract.Provider) error {
	if len(providers) == 1 {
		b := batchOf(&providers[0])
		return r.registerBatch(ctx, b, r.want(b))
	}
	all := batches(providers)
	asked := make([]wanted, len(all))
	for i := range all {
		asked[i] = r.want(&all[i])
	}
	var problems []error
	for i := range all {
		if err := r.registerBatch(ctx, &all[i], asked[i]); err != nil {
			problems = append(problems, err)
		}
	}
	return joined(problems)
}

// registerBatch registers what is wanted. When that is refused, what was wanted before
// is wanted again.
func (r *registrations) registerBatch(ctx context.Context, b *batch, asked wanted) error {
	err := r.tell(ctx, abstract.ServiceRegister, b)
	if err != nil {
		if hasRefused(err) {
			r.unwant(b, asked)
		}
		return err
	}
	r.agree(abstract.ServiceRegister, b)
	return nil
}

// allPlaced returns providers with the addresses at which the broker has them.
func (r *registrations) allPlaced(providers []abstract.Provider) []abstract.Provider {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := make([]abstract.Provider, len(providers))
	for i := range providers {
		at[i] = providers[i]
		at[i].Host = r.placed(nameOf(&providers[i]))
	}
	return at
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

// placed returns the address at which the broker has a provider. It is called with the
// lock held.
func (r *registrations) placed(n name) abstract.Host {
	if n.host.IP == "" {
		if w := r.wants[n]; w != nil && w.at.IP != "" {
			return w.at
		}
	}
	return n.host
}

// located returns a batch with the address at which the broker has it.
func (r *registrations) located(b *batch) *batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := *b
	known.host = r.placed(b.name(0))
	return &known
}

// tell makes a request about a batch, and returns when the broker has done it.
func (r *registrations) tell(ctx context.Context, op abstract.ServiceOp, b *batch) error {
	m, err := r.conn.askOn(ctx, "", true, func(s *session, deadline time.Time) (abstract.BaseMessage, error) {
		return r.tellOn(ctx, s, deadline, op, b)
	})
	if err != nil {
		e := asError(err)
		return decorate(e, b.doing(op), e.Attempts, e.Instance)
	}
	if rsp := m.(*message.ServiceResponse); rsp.Code != abstract.OK {
		return refused(b.doing(op), rsp.Code, rsp.Message, r.conn.addr)
	}
	return nil
}

// tellOn is tell on a session. It returns the first answer that refuses, if one does.
func (r *registrations) tellOn(ctx context.Context, s *session, deadline time.Time, op abstract.ServiceOp, b *batch) (abstract.BaseMessage, error) {
	if !s.modern() && b.host.IP == "" {
		return nil, abstract.Errorf(abstract.InvalidParams, "this registry does not look where a provider is; give the provider's IP")
	}
	known := b
	if op != abstract.ServiceRegister {
		known = r.located(b)
	}
	var see func(abstract.BaseMessage)
	if b.ttl > 0 || b.host.IP == "" { // else an answer changes nothing
		see = func(m abstract.BaseMessage) { r.seen(op, b, m.(*message.ServiceResponse)) }
	}
	var m abstract.BaseMessage
	for part := range known.parts(s.modern()) {
		q := part.request(op)
		q.see = see
		var err error
		if m, err = s.ask(ctx, deadline, q); err != nil || m.(*message.ServiceResponse).Code != abstract.OK {
			return m, err
		}
	}
	return m, nil
}

// seen takes from an answer where a batch is now, and that it was renewed.
func (r *registrations) seen(op abstract.ServiceOp, b *batch, rsp *message.ServiceResponse) {
	if rsp.Code != abstract.OK || op == abstract.ServiceUnregister {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range b.methods {
		w := r.wants[b.name(i)]
		if w == nil {
			continue
		}
		if rsp.Registered != nil {
			w.at = *rsp.Registered
		}
		r.renewed(w)
	}
}

func (r *registrations) unregister(ctx context.Context, providers []abstract.Provider) error {
	var problems []error
	for _, b := range batches(r.dropAll(providers)) {
		if err := r.takeBack(ctx, &b); err != nil {
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
	for i := range providers {
		n, w := r.find(&providers[i])
		if w == nil {
			continue
		}
		p := abstract.Provider{Method: n.method, Host: r.placed(n), Instance: n.instance}
		dropped = append(dropped, p)
		delete(r.wants, n)
	}
	return dropped
}

// find returns the wish for p and its name, which may be by the address at which the
// broker has it; nil: there is none. It is called with the lock held.
func (r *registrations) find(p *abstract.Provider) (name, *wish) {
	n := nameOf(p)
	if w := r.wants[n]; w != nil {
		return n, w
	}
	n.host.IP = ""
	if w := r.wants[n]; w != nil && w.at == p.Host {
		return n, w
	}
	return n, nil
}

// takeBack unregisters what is not wanted any more.
func (r *registrations) takeBack(ctx context.Context, b *batch) error {
	op := b.doing(abstract.ServiceUnregister)
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
	r.agree(abstract.ServiceUnregister, b)
	return nil
}

// restore registers everything again.
func (r *registrations) restore(ctx context.Context, s *session) error {
	r.mu.Lock()
	wants := r.everything(time.Now())
	r.mu.Unlock()
	var requests []request
	for _, b := range wants {
		for part := range b.parts(s.modern()) {
			q := part.request(abstract.ServiceRegister)
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
		for part := range b.parts(s.modern()) {
			requests = append(requests, part.request(abstract.ServiceUnregister))
		}
	}
	return s.askAll(ctx, requests)
}

// restored looks at the answer to a batch that was restored. One that is refused is
// tried again: the broker had taken it before. As one provider may be the reason that
// all of a batch are refused, each goes on alone.
func (r *registrations) restored(b *batch, rsp *message.ServiceResponse) {
	if rsp.Code == abstract.OK {
		r.seen(abstract.ServiceRegister, b, rsp)
		return
	}
	r.conn.report(refused(b.doing(abstract.ServiceRegister), rsp.Code, rsp.Message, r.conn.addr))
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range b.methods {
		n := b.name(i)
		if r.retrying[n] {
			continue
		}
		r.retrying[n] = true
		pause := backoff(&r.conn.cfg, firstRetry)
		if len(b.methods) > 1 {
			pause = 0
		}
		part := b.one(i)
		if !r.conn.tasks.run(func() { r.retry(part, pause) }) {
			delete(r.retrying, n)
		}
	}
}

// firstRetry is after how many tries in a row the first pause is taken to be.
const firstRetry = 2

// retry registers one provider until it succeeds or nobody wants it any more.
func (r *registrations) retry(b *batch, pause time.Duration) {
	n := b.name(0)
	defer func() {
		r.mu.Lock()
		delete(r.retrying, n)
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
		w := r.wants[n]
		if w == nil {
			r.mu.Unlock()
			return
		}
		b.traits, b.ttl = w.traits, w.ttl
		r.mu.Unlock()
		if r.tell(r.conn.ctx, abstract.ServiceRegister, b) == nil {
			r.agree(abstract.ServiceRegister, b)
			return
		}
	}
}
