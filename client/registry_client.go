package client

import (
	"context"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// RegistryClient registers providers at the broker and keeps them registered
// through any outage. Safe for concurrent use.
type RegistryClient struct{ conn *Conn }

var _ abstract.Registrar = (*RegistryClient)(nil)

// NewRegistryClient makes a RegistryClient on a connection. All of one Conn's
// RegistryClients are the same one.
func NewRegistryClient(c *Conn) *RegistryClient { return &RegistryClient{c} }

// Register tells the broker that the providers are there. From now on they are
// registered again after every reconnect, until Unregister or the Conn's Close,
// also when this first try fails for want of a connection. What the broker
// refuses is not tried again.
func (r *RegistryClient) Register(ctx context.Context, providers ...abstract.Provider) error {
	for _, p := range providers {
		if err := r.conn.registrations.register(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// Unregister takes providers back. A broker that is an existing program of the
// LV family cannot do that while the connection lasts: the error then has the
// code Unsupported, and closing the Conn is the way.
func (r *RegistryClient) Unregister(ctx context.Context, providers ...abstract.Provider) error {
	for _, p := range providers {
		if err := r.conn.registrations.unregister(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// registrations is what a Conn keeps registered.
type registrations struct {
	conn     *Conn
	mu       sync.Mutex
	wants    map[abstract.Provider]abstract.Traits // by nameOf
	stands   []abstract.Provider                   // what the session that is being made has been told
	retrying map[abstract.Provider]bool            // those that the broker has refused after a reconnect
}

func (r *registrations) init(c *Conn) {
	r.conn, r.wants = c, make(map[abstract.Provider]abstract.Traits)
	r.retrying = make(map[abstract.Provider]bool)
}

// nameOf is what a provider is told apart by.
func nameOf(p abstract.Provider) abstract.Provider {
	p.Hello = false // the broker knows from the connection, and callers may leave it out
	p.Traits = abstract.Traits{}
	return p
}

// want notes a wish, and returns what takes it back: the one before it stands again.
func (r *registrations) want(p abstract.Provider) (undo func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, was := r.wants[nameOf(p)]
	r.wants[nameOf(p)] = p.Traits
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if was {
			r.wants[nameOf(p)] = before
		} else {
			delete(r.wants, nameOf(p))
		}
	}
}

// drop returns whether p was wanted.
func (r *registrations) drop(p abstract.Provider) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, was := r.wants[nameOf(p)]
	delete(r.wants, nameOf(p))
	return was
}

func (r *registrations) register(ctx context.Context, p abstract.Provider) error {
	undo := r.want(p)
	const op = "register "
	m, err := r.conn.ask(ctx, op+p.Method, serviceRequest(abstract.ServiceRegister, p))
	if err != nil {
		return err
	}
	if rsp := m.(*message.ServiceResponse); rsp.Code != abstract.OK {
		undo()
		return refused(op+p.Method, rsp.Code, rsp.Message, r.conn.addr)
	}
	return nil
}

func (r *registrations) unregister(ctx context.Context, p abstract.Provider) error {
	if !r.drop(p) {
		return nil
	}
	op := "unregister " + p.Method
	if r.conn.Connected() && !r.conn.Modern() {
		return &abstract.Error{Code: abstract.Unsupported, Op: op, Message: "this registry forgets a provider only when its connection closes", Instance: r.conn.addr}
	}
	s := r.conn.current.Load()
	if s == nil {
		return nil // the broker forgets us with the connection, and we do not come back
	}
	m, err := s.ask(ctx, time.Now().Add(r.conn.cfg.timeout), serviceRequest(abstract.ServiceUnregister, p))
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

func serviceRequest(op abstract.ServiceOp, p abstract.Provider) request {
	return request{want: abstract.RspService, harmless: true, build: func(id string) abstract.BaseMessage {
		host := p.Host
		return &message.ServiceRequest{Header: message.ID(id), Op: op, Method: p.Method, Host: &host, Instance: p.Instance, Traits: p.Traits}
	}}
}

// restore registers everything again.
func (r *registrations) restore(ctx context.Context, s *session) error {
	r.mu.Lock()
	wants := make([]abstract.Provider, 0, len(r.wants))
	requests := make([]request, 0, len(r.wants))
	for p, traits := range r.wants {
		p.Traits = traits
		q := serviceRequest(abstract.ServiceRegister, p)
		q.see = func(m abstract.BaseMessage) { r.restored(p, m.(*message.ServiceResponse)) }
		wants, requests = append(wants, p), append(requests, q)
	}
	r.mu.Unlock()
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
	return s.askAll(ctx, r.takenBack(restored))
}

// takenBack are the requests that undo what was unregistered while it was being
// restored.
func (r *registrations) takenBack(restored []abstract.Provider) []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var requests []request
	for _, p := range restored {
		if _, wanted := r.wants[nameOf(p)]; !wanted {
			requests = append(requests, serviceRequest(abstract.ServiceUnregister, p))
		}
	}
	return requests
}

// restored looks at the answer to a registration that was restored. One that is
// refused is tried again: the broker had taken it before.
func (r *registrations) restored(p abstract.Provider, rsp *message.ServiceResponse) {
	if rsp.Code == abstract.OK {
		return
	}
	r.conn.report(refused("register "+p.Method, rsp.Code, rsp.Message, r.conn.addr))
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.retrying[nameOf(p)] {
		r.retrying[nameOf(p)] = true
		go r.retry(nameOf(p))
	}
}

// retry registers until it succeeds or nobody wants it any more.
func (r *registrations) retry(p abstract.Provider) {
	defer func() {
		r.mu.Lock()
		delete(r.retrying, p)
		r.mu.Unlock()
	}()
	for try := 2; ; try++ {
		select {
		case <-r.conn.ctx.Done():
			return
		case <-time.After(backoff(&r.conn.cfg, try)):
		}
		r.mu.Lock()
		traits, wanted := r.wants[p]
		r.mu.Unlock()
		if !wanted {
			return
		}
		p := p
		p.Traits = traits
		m, err := r.conn.ask(r.conn.ctx, "register "+p.Method, serviceRequest(abstract.ServiceRegister, p))
		if err == nil && m.(*message.ServiceResponse).Code == abstract.OK {
			for _, undo := range r.takenBack([]abstract.Provider{p}) { // unregistered while we waited
				_, _ = r.conn.ask(r.conn.ctx, "unregister "+p.Method, undo) // else it ends with the connection
			}
			return
		}
	}
}
