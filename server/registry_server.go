package server

import (
	"context"
	"crypto/rand"
	"net"
	"slices"
	"time"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/business/registry"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
)

// RegistryServer knows who provides which method, answers who asks, and tells
// those who asked when a provider comes or goes. All methods are safe for
// concurrent use.
type RegistryServer struct {
	ep    *endpoint
	index index // its lock guards what follows
	pd    *registry.PDManager
	later map[*time.Timer]struct{} // what is going to be done; nil after close
	spans spans                    // registrations that end when nobody renews them

	health   health
	dialBack dialBack
	losses   *registry.Losses  // the lock guards it and what follows
	held     []registry.ConnID // connections that are gone, and whose providers are kept
	holding  *time.Timer       // ends that
	swept    bool              // what an earlier run has left is removed
	drained  bool              // nothing more is done of our own accord
}

var _ abstract.BaseServer = (*RegistryServer)(nil)
var _ part = (*RegistryServer)(nil)

// NewRegistryServer makes a registry for addr ("host:port", or "unix:/path").
func NewRegistryServer(addr string, opts ...Option) *RegistryServer {
	cfg := newConfig(opts)
	return newRegistryServer(newEndpoint(addr, cfg), storeOf(cfg))
}

// storeOf returns the store that was given, or a new one in memory.
func storeOf(cfg config) abstract.Store {
	if cfg.store != nil {
		return cfg.store
	}
	return memstore.New()
}

func newRegistryServer(ep *endpoint, store abstract.Store) *RegistryServer {
	s := &RegistryServer{ep: ep, later: make(map[*time.Timer]struct{})}
	s.spans.init(s)
	s.health.init(s, ep.cfg.health)
	s.dialBack.init(ep.cfg.dialBack)
	s.losses = registry.NewLosses(ep.cfg.losses.config())
	// Connections of two runs of a broker on one store must not be taken for each other.
	s.pd = registry.NewPDManager(registry.Config{Broker: rand.Text()})
	s.index.init(store, s.pd.Applied)
	dispatch.On(ep.dispatch, abstract.ReqService, s.onServiceRequest)
	ep.attach(s, store)
	return s
}

// Listen binds the address; see Serve.
func (s *RegistryServer) Listen() error { return s.ep.Listen() }

// Addr is the address the server listens on; nil before Listen.
func (s *RegistryServer) Addr() net.Addr { return s.ep.Addr() }

// Serve serves until Shutdown is called, and then returns nil.
func (s *RegistryServer) Serve() error { return s.ep.Serve() }

// Shutdown tells modern peers goodbye and closes the connections, within ctx.
func (s *RegistryServer) Shutdown(ctx context.Context) error { return s.ep.Shutdown(ctx) }

// drain ends what is done of our own accord: nobody is to be told that a provider has
// gone because the server does.
func (s *RegistryServer) drain(context.Context) {
	s.spans.close()
	s.index.Lock()
	defer s.index.Unlock()
	s.drained = true
}

func (s *RegistryServer) close() {
	s.index.Lock()
	for timer := range s.later {
		timer.Stop()
	}
	s.later = nil
	if s.holding != nil {
		s.holding.Stop()
	}
	s.index.Unlock()
	s.health.close()
	s.index.close()
}

// after does something after a while, unless the server is closed before.
func (s *RegistryServer) after(d time.Duration, fn func()) {
	s.index.Lock()
	defer s.index.Unlock()
	s.schedule(d, fn)
}

// schedule is after, with the lock held.
func (s *RegistryServer) schedule(d time.Duration, fn func()) {
	if s.later == nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		s.index.Lock()
		_, due := s.later[timer]
		delete(s.later, timer)
		s.index.Unlock()
		if due {
			fn()
		}
	})
	s.later[timer] = struct{}{}
}

// start takes what is in the store into the index.
func (s *RegistryServer) start() error {
	s.index.follow(registry.Prefix, s.apply)
	if grace := s.ep.cfg.restartGrace; grace > 0 {
		s.after(grace, s.sweep)
	}
	if s.health.cfg.Load().Interval > 0 {
		s.health.start()
	}
	return load(s.index.store, registry.Prefix, func(kvs []abstract.KV, rev int64) bool {
		s.index.Lock()
		defer s.index.Unlock()
		_, ok := s.pd.Load(kvs, rev)
		return ok
	})
}

// onServiceRequest serves everything that is asked of a registry.
func (s *RegistryServer) onServiceRequest(t *turn, m *message.ServiceRequest) {
	if t.later(m, s.waits(t.conn, m.Op)) {
		return
	}
	c := t.conn
	switch {
	case m.Op == abstract.ServiceRegister:
		s.register(t, m)
	case m.Op == abstract.ServiceDiscover:
		s.discover(c, m)
	case m.Op == abstract.ServiceUnregister && c.modern():
		s.unregister(t, m)
	case m.Op == abstract.ServiceHeartbeat && c.modern():
		s.heartbeat(c, m)
	case m.Op == abstract.ServiceReport && c.modern():
		s.report(c, m)
	default:
		c.refuse(m, abstract.Errorf(abstract.InvalidOp, "a registry takes register and discover, and from peers that said HELLO unregister, heartbeat and report"))
	}
}

// waits says whether a request waits for something. One writer at a time works on a
// connection's registrations: what ends them by time is an errand of the connection.
func (s *RegistryServer) waits(c *conn, op abstract.ServiceOp) bool {
	switch op {
	case abstract.ServiceDiscover:
		return false
	case abstract.ServiceRegister:
		return s.dialBack.looks() || !s.index.store.Instant() || s.spans.any(c)
	case abstract.ServiceUnregister:
		return !s.index.store.Instant() || s.spans.any(c)
	}
	return !s.index.store.Instant()
}

// register makes the sender a provider, and answers when the index has it: so the
// notices it causes are queued before the answer.
func (s *RegistryServer) register(t *turn, m *message.ServiceRequest) {
	c := t.conn
	var one [1]string
	methods := methodsOf(m, one[:0])
	p, observed, err := providerHost(c, m)
	if err == nil {
		err = s.found(c, p)
	}
	if err == nil {
		err = s.enlist(t, p, methods)
	}
	if err != nil {
		c.refuse(m, err)
		return
	}
	s.spans.renew(c, p, milliseconds(m.TTLMs), methods)
	var registered *abstract.Host
	if observed {
		registered = &abstract.Host{IP: p.Host.IP, Port: p.Host.Port}
	}
	s.done(c, m, registered)
}

// done answers a request that has succeeded.
func (s *RegistryServer) done(c *conn, m *message.ServiceRequest, registered *abstract.Host) {
	c.reply(&message.ServiceResponse{Header: message.ID(m.ID()), Op: m.Op, Registered: registered})
}

func (s *RegistryServer) unregister(t *turn, m *message.ServiceRequest) {
	c := t.conn
	p, _, err := providerHost(c, m)
	methods := methodsOf(m, nil)
	if err == nil {
		err = s.remove(t, registry.Unregistered, p, methods...)
	}
	if err != nil {
		c.refuse(m, err)
		return
	}
	s.spans.forget(c, p, methods)
	s.done(c, m, nil)
}

// methodsOf are the methods that a request is about, in memory of the caller's when that
// is enough.
func methodsOf(m *message.ServiceRequest, room []string) []string {
	list := append(append(room, m.Method), m.Methods...)
	if len(list) == 1 {
		return list
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// providerHost is whom a request is about. When it leaves the address to us, it is
// the one that was observed: where the connection comes from.
func providerHost(c *conn, m *message.ServiceRequest) (p message.ProviderHost, observed bool, err error) {
	p = message.ProviderHost{Host: *m.Host, Instance: m.Instance, Hello: c.modern(), Traits: m.Traits}
	if p.State != abstract.Retiring {
		p.State = abstract.Up // what else there is, is for the registry to say
	}
	p.Relay = p.Relay && c.modern() // it takes no calls from us
	if p.Host.IP != "" || !c.modern() {
		return p, false, nil
	}
	host, _, err := net.SplitHostPort(c.name())
	if err != nil || net.ParseIP(host) == nil {
		return p, false, abstract.Errorf(abstract.InvalidParams, "the provider leaves its address to the broker, and this connection comes from none (%s); register the address that callers shall use", c.name())
	}
	p.Host.IP = host
	return p, true, nil
}

// discover answers with the hosts of a method and makes the asker its
// discoverer, in one step: no notice can slip in between.
func (s *RegistryServer) discover(c *conn, m *message.ServiceRequest) {
	s.index.Lock()
	defer s.index.Unlock()
	hosts, revision, err := s.pd.Discover(registry.ConnID(c.id), m.Method)
	rsp := &message.ServiceResponse{Header: message.ID(m.ID()), Op: m.Op, Method: m.Method, Hosts: hosts}
	switch {
	case !c.modern():
		if err == nil {
			if rsp.Hosts, err = forLegacy(m.Method, hosts); err == nil {
				c.reply(rsp)
				return
			}
		}
		c.refuse(m, err)
		return
	case err != nil && abstract.CodeOf(err) != abstract.ServiceNotFound:
		c.refuse(m, err)
		return
	case m.Revision > 0 && m.Revision == revision:
		rsp.Hosts, rsp.Unchanged = nil, true
	case err != nil:
		rsp.Code, rsp.Message = abstract.ServiceNotFound, publicText(err)
	}
	rsp.Revision = revision
	c.reply(rsp)
}

// forLegacy returns the hosts that a legacy peer sees.
func forLegacy(method string, hosts []message.ProviderHost) ([]message.ProviderHost, error) {
	if hosts = registry.ForLegacy(hosts); len(hosts) == 0 {
		return nil, abstract.Errorf(abstract.ServiceNotFound, "nobody provides method %q now; its providers are announced when they do again", method)
	}
	return hosts, nil
}

// apply takes a change of the store into the index and queues what it says to
// the discoverers. It runs in revision order.
func (s *RegistryServer) apply(change abstract.Change) {
	s.index.Lock()
	defer s.index.Unlock()
	s.notify(s.pd.Apply(change))
	if !s.index.store.Instant() {
		s.strays(change)
		s.contradicted(change)
	}
	s.index.advanced()
}

// notify queues notices, with the lock held. Who has queued something is flushed by
// index.
func (s *RegistryServer) notify(notices []registry.Notice) {
	for i := range notices {
		n := &notices[i]
		c := s.ep.conn(uint64(n.Conn))
		if c == nil {
			continue
		}
		online, tell := n.Online, n.Modern()
		if !c.modern() {
			online, tell = n.Legacy()
		}
		if tell {
			c.reply(s.notice(n.News, online))
			s.index.tell(c)
		}
	}
}

func (s *RegistryServer) notice(n *registry.News, online bool) *message.ServiceRequest {
	host := n.Host
	m := &message.ServiceRequest{
		Header: message.ID(s.ep.newID()), Op: abstract.ServiceOffline, Method: n.Method, Host: &host,
		Instance: n.Instance, Hello: n.Hello, Revision: n.Revision, Traits: n.Traits,
	}
	if online {
		m.Op = abstract.ServiceOnline
	} else {
		m.Reason = n.Reason.String()
	}
	return m
}
