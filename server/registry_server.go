package server

import (
	"context"
	"crypto/rand"
	"net"
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

func (s *RegistryServer) drain(context.Context) {}

func (s *RegistryServer) close() {
	s.index.Lock()
	for timer := range s.later {
		timer.Stop()
	}
	s.later = nil
	s.index.Unlock()
	s.index.close()
}

// after does something after a while, unless the server is closed before.
func (s *RegistryServer) after(d time.Duration, fn func()) {
	s.index.Lock()
	defer s.index.Unlock()
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
	return load(s.index.store, registry.Prefix, func(kvs []abstract.KV, rev int64) bool {
		s.index.Lock()
		defer s.index.Unlock()
		_, ok := s.pd.Load(kvs, rev)
		return ok
	})
}

// sweep removes what an earlier run has left, until that has succeeded.
func (s *RegistryServer) sweep() {
	s.index.Lock()
	txns := s.pd.PlanAbandoned()
	s.index.Unlock()
	if s.remove(txns) {
		return
	}
	s.after(storeTimeout, s.sweep)
}

// remove runs transactions that remove providers, for nobody's connection, and
// returns whether all of them succeeded.
func (s *RegistryServer) remove(txns []abstract.Txn) bool {
	for _, txn := range txns {
		if err := s.run(nil, txn); err != nil {
			s.ep.logs.registry.Error("providers that are gone not removed yet", "err", err)
			return false
		}
	}
	return true
}

// onServiceRequest serves register, discover and unregister.
func (s *RegistryServer) onServiceRequest(t *turn, m *message.ServiceRequest) {
	writes := m.Op != abstract.ServiceDiscover
	if t.later(m, writes && !s.index.store.Instant()) {
		return
	}
	switch {
	case m.Op == abstract.ServiceRegister:
		s.write(t, m, s.planRegister)
	case m.Op == abstract.ServiceDiscover:
		s.discover(t.conn, m)
	case m.Op == abstract.ServiceUnregister && t.conn.modern():
		s.write(t, m, s.planUnregister)
	default:
		t.conn.refuse(m, abstract.Errorf(abstract.InvalidOp, "a registry takes register and discover, and unregister from peers that said HELLO"))
	}
}

func (s *RegistryServer) planRegister(c *conn, m *message.ServiceRequest) (abstract.Txn, error) {
	return s.pd.PlanRegister(registry.ConnID(c.id), m.Method, providerHost(c, m))
}

func (s *RegistryServer) planUnregister(c *conn, m *message.ServiceRequest) (abstract.Txn, error) {
	return s.pd.PlanUnregister(registry.ConnID(c.id), m.Method, providerHost(c, m))
}

func providerHost(c *conn, m *message.ServiceRequest) message.ProviderHost {
	return message.ProviderHost{Host: *m.Host, Instance: m.Instance, Hello: c.modern(), Traits: m.Traits}
}

// write plans a transaction, runs it, and answers when the index has it: so the
// notices it causes are queued before the answer.
func (s *RegistryServer) write(t *turn, m *message.ServiceRequest, plan func(*conn, *message.ServiceRequest) (abstract.Txn, error)) {
	s.index.Lock()
	txn, err := plan(t.conn, m)
	s.index.Unlock()
	if err == nil {
		err = s.run(t, txn)
	}
	if err != nil {
		t.conn.refuse(m, err)
		return
	}
	t.conn.reply(&message.ServiceResponse{Header: message.ID(m.ID()), Op: m.Op})
}

// run runs a transaction, if it does anything, and returns when the index has it.
// Who was told is flushed at the end of t, or at once when there is none.
func (s *RegistryServer) run(t *turn, txn abstract.Txn) error {
	if len(txn.Then) == 0 {
		return nil
	}
	ctx := storeContext(time.Now().Add(storeTimeout))
	defer ctx.finish()
	_, told, err := s.index.run(ctx, txn)
	if t == nil {
		flushAll(told)
		return err
	}
	for _, c := range told {
		t.touch(c)
	}
	return err
}

// discover answers with the hosts of a method and makes the asker its
// discoverer, in one step: no notice can slip in between.
func (s *RegistryServer) discover(c *conn, m *message.ServiceRequest) {
	s.index.Lock()
	defer s.index.Unlock()
	hosts, err := s.pd.Discover(registry.ConnID(c.id), m.Method)
	if err != nil {
		c.refuse(m, err)
		return
	}
	c.reply(&message.ServiceResponse{Header: message.ID(m.ID()), Op: m.Op, Method: m.Method, Hosts: hosts})
}

// apply takes a change of the store into the index and queues what it says to
// the discoverers. It runs in revision order.
func (s *RegistryServer) apply(change abstract.Change) {
	s.index.Lock()
	defer s.index.Unlock()
	for _, n := range s.pd.Apply(change) {
		c := s.ep.conn(uint64(n.Conn))
		if c == nil {
			continue
		}
		op := abstract.ServiceOffline
		if n.Online {
			op = abstract.ServiceOnline
		}
		host := n.Host
		c.reply(&message.ServiceRequest{Header: message.ID(s.ep.newID()), Op: op, Method: n.Method, Host: &host, Instance: n.Instance, Hello: n.Hello, Traits: n.Traits})
		s.index.tell(c)
	}
	s.index.advanced()
	if !s.index.store.Instant() {
		s.strays(change)
	}
}

// strays removes, with the lock held, what connections that are gone have registered:
// a write of unknown fate may take effect after its connection's end.
func (s *RegistryServer) strays(change abstract.Change) {
	for _, id := range s.pd.Made(change) {
		if s.ep.conn(uint64(id)) == nil {
			go s.removeStrays(id)
		}
	}
}

func (s *RegistryServer) removeStrays(id registry.ConnID) {
	s.index.Lock()
	txns := s.pd.PlanDisconnect(id)
	s.index.Unlock()
	s.removeLater(txns)
}

// lost takes a connection's providers out of the store and forgets it as a discoverer.
func (s *RegistryServer) lost(t *turn) {
	s.index.Lock()
	s.pd.Forget(registry.ConnID(t.conn.id))
	if s.ep.draining() { // it is our doing: nobody is to be told that a provider has gone
		s.index.Unlock()
		return
	}
	txns := s.pd.PlanDisconnect(registry.ConnID(t.conn.id))
	s.index.Unlock()
	for i, txn := range txns {
		if err := s.run(t, txn); err != nil {
			s.ep.logs.registry.Error("providers of a lost connection not removed yet", "peer", t.conn.name(), "err", err)
			s.after(storeTimeout, func() { s.removeLater(txns[i:]) })
			return
		}
	}
}

// removeLater is remove until it succeeds. Nobody registers again what these remove:
// their keys name a connection that is gone.
func (s *RegistryServer) removeLater(txns []abstract.Txn) {
	if !s.remove(txns) {
		s.after(storeTimeout, func() { s.removeLater(txns) })
	}
}
