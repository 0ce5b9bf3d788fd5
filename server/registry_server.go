package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/business/registry"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
)

// storeTimeout bounds one transaction of the store.
const storeTimeout = 5 * time.Second

// RegistryServer knows who provides which method, answers who asks, and tells
// those who asked when a provider comes or goes. All methods are safe for
// concurrent use.
type RegistryServer struct {
	ep    *endpoint
	store abstract.Store
	stop  func() // ends the following of the store

	// mu keeps events in order: a change of the index and the queueing of what
	// it says to whom are one step. Nothing is written to a socket under it.
	mu    sync.Mutex
	pd    *registry.PDManager
	told  []*conn // who has been queued a notice and is to be flushed
	runs  int     // transactions under way; who ends one flushes
	moved sync.Cond
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
	s := &RegistryServer{ep: ep, store: store, stop: func() {}, later: make(map[*time.Timer]struct{})}
	// Connections of two runs of a broker on one store must not be taken for each other.
	s.pd = registry.NewPDManager(registry.Config{Broker: rand.Text()})
	s.moved.L = &s.mu
	dispatch.On(ep.dispatch, abstract.ReqService, s.onServiceRequest)
	ep.parts = append(ep.parts, s)
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
	s.mu.Lock()
	for timer := range s.later {
		timer.Stop()
	}
	s.later = nil
	s.mu.Unlock()
	s.stop()
}

// after does something after a while, unless the server is closed before.
func (s *RegistryServer) after(d time.Duration, fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.later == nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		s.mu.Lock()
		_, due := s.later[timer]
		delete(s.later, timer)
		s.mu.Unlock()
		if due {
			fn()
		}
	})
	s.later[timer] = struct{}{}
}

// start takes what is in the store into the index.
func (s *RegistryServer) start() error {
	s.stop = s.store.Follow(registry.Prefix, s.apply)
	if grace := s.ep.cfg.restartGrace; grace > 0 {
		s.after(grace, s.sweep)
	}
	return load(s.store, registry.Prefix, func(kvs []abstract.KV, rev int64) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, ok := s.pd.Load(kvs, rev)
		return ok
	})
}

// sweep removes what an earlier run has left, until that has succeeded.
func (s *RegistryServer) sweep() {
	s.mu.Lock()
	txns := s.pd.PlanAbandoned()
	s.mu.Unlock()
	if s.remove(txns) {
		return
	}
	s.after(storeTimeout, s.sweep)
}

// remove runs transactions that remove providers, for nobody's connection, and
// returns whether all of them succeeded.
func (s *RegistryServer) remove(txns []abstract.Txn) bool {
	for _, txn := range txns {
		told, err := s.run(txn)
		flushAll(told)
		if err != nil {
			s.ep.log.Error("providers that are gone not removed yet", "err", err)
			return false
		}
	}
	return true
}

// load reads what is below prefix until the reader takes it: it does not when the
// following of the store has gone further in the meantime.
func load(store abstract.Store, prefix string, take func(kvs []abstract.KV, rev int64) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	for {
		kvs, rev, err := store.Range(ctx, prefix, 0)
		if err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		if take(kvs, rev) {
			return nil
		}
	}
}

// onServiceRequest serves register, discover and unregister.
func (s *RegistryServer) onServiceRequest(c *conn, m *message.ServiceRequest) {
	switch {
	case m.Op == abstract.ServiceRegister:
		s.write(c, m, s.planRegister)
	case m.Op == abstract.ServiceDiscover:
		s.discover(c, m)
	case m.Op == abstract.ServiceUnregister && c.modern():
		s.write(c, m, s.planUnregister)
	default:
		c.refuse(m, abstract.Errorf(abstract.InvalidOp, "a registry takes register and discover, and unregister from peers that said HELLO"))
	}
}

func (s *RegistryServer) planRegister(c *conn, m *message.ServiceRequest) (abstract.Txn, error) {
	return s.pd.PlanRegister(registry.ConnID(c.id), m.Method, providerHost(c, m))
}

func (s *RegistryServer) planUnregister(c *conn, m *message.ServiceRequest) (abstract.Txn, error) {
	return s.pd.PlanUnregister(registry.ConnID(c.id), m.Method, providerHost(c, m))
}

func providerHost(c *conn, m *message.ServiceRequest) message.ProviderHost {
	return message.ProviderHost{Host: *m.Host, Instance: m.Instance, Hello: c.modern()}
}

// write plans a transaction, runs it, and answers when the index has it: so the
// notices it causes are queued before the answer.
func (s *RegistryServer) write(c *conn, m *message.ServiceRequest, plan func(*conn, *message.ServiceRequest) (abstract.Txn, error)) {
	s.mu.Lock()
	txn, err := plan(c, m)
	s.mu.Unlock()
	if err == nil {
		var told []*conn
		told, err = s.run(txn)
		for _, other := range told {
			c.touch(other)
		}
	}
	if err != nil {
		c.refuse(m, err)
		return
	}
	c.reply(&message.ServiceResponse{Header: message.ID(m.ID()), Op: m.Op})
}

// run runs a transaction, waits until the index has applied it, and returns who was
// told something and is to be flushed.
func (s *RegistryServer) run(txn abstract.Txn) (told []*conn, err error) {
	if len(txn.Then) == 0 {
		return nil, nil
	}
	ctx := &callContext{Context: context.Background(), deadline: time.Now().Add(storeTimeout)} // its timer is made when somebody waits
	defer ctx.finish()
	s.mu.Lock()
	s.runs++
	s.mu.Unlock()
	res, err := s.store.Txn(ctx, txn)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs--
	if err == nil && res.Changed {
		err = await(ctx, &s.moved, func() bool { return s.pd.Applied() >= res.Revision })
	}
	told, s.told = s.told, nil
	return told, err
}

// await waits, with the lock of moved held, until the index has what was written.
func await(ctx context.Context, moved *sync.Cond, there func() bool) error {
	if there() {
		return nil // as a rule: the store in memory tells its followers at once
	}
	defer context.AfterFunc(ctx, func() {
		moved.L.Lock()
		defer moved.L.Unlock()
		moved.Broadcast()
	})()
	for !there() {
		if ctx.Err() != nil {
			return &abstract.Error{Code: abstract.UnknownFate, Op: "write to the store", Message: "it is written, and the broker has not heard of it yet; ask again", Err: ctx.Err()}
		}
		moved.Wait()
	}
	return nil
}

// discover answers with the hosts of a method and makes the asker its
// discoverer, in one step: no notice can slip in between.
func (s *RegistryServer) discover(c *conn, m *message.ServiceRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	s.mu.Lock()
	defer s.mu.Unlock()
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
		c.reply(&message.ServiceRequest{Header: message.ID(s.ep.newID()), Op: op, Method: n.Method, Host: &host, Instance: n.Instance, Hello: n.Hello})
		s.told = append(s.told, c)
	}
	if s.runs == 0 && len(s.told) > 0 { // another broker's doing, or a transaction that was given up
		go flushAll(s.told)
		s.told = nil
	}
	s.moved.Broadcast()
}

func flushAll(conns []*conn) {
	for _, c := range conns {
		c.Flush()
	}
}

// lost takes a connection's providers out of the store and forgets it as a discoverer.
func (s *RegistryServer) lost(c *conn) {
	s.mu.Lock()
	s.pd.Forget(registry.ConnID(c.id))
	txns := s.pd.PlanDisconnect(registry.ConnID(c.id))
	s.mu.Unlock()
	for i, txn := range txns {
		told, err := s.run(txn)
		for _, other := range told {
			c.touch(other)
		}
		if err != nil {
			s.ep.log.Error("providers of a lost connection not removed yet", "peer", c.name(), "err", err)
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
