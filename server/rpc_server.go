package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/business/router"
	"trefoil/concrete/message"
	"trefoil/concrete/workers"
)

// RpcServer serves methods. With WithRegistry it also registers them, so that
// callers find it. All methods are safe for concurrent use.
type RpcServer struct {
	ep      *endpoint
	router  *router.RpcRouter
	workers *workers.Pool
	gate    *gate // nil when no option asks for limits

	instance string        // tells our registrations from those of an earlier process at the same address
	active   atomic.Int64  // calls running or waiting
	phase    atomic.Uint32 // see drain.go
	arrived  atomic.Int64  // calls that have come while the server retires
	idle     chan struct{} // receives an element when the last call of a refusing server ends
	stopped  sync.Once

	registering chan struct{} // holds an element while the registry is told something

	mu          sync.Mutex
	stopRelayed func()              // ends the calls through the registry; nil: there are none
	registered  []abstract.Provider // what stands in the registry now
	serving     bool
	state       abstract.ProviderState // what is registered as
	paused      bool                   // nothing is registered, for want of health
}

var _ abstract.BaseServer = (*RpcServer)(nil)
var _ part = (*RpcServer)(nil)

// Description is what is known of a method: its name, its parameters' names and
// kinds, and the kind of its result.
type Description = router.Description

// Parameter is one named parameter in a Description.
type Parameter = router.Parameter

// Kind is the kind of a parameter or a result in a Description.
type Kind = message.Kind

// The kinds. An integer is a number without a fraction, however it is written.
const (
	KindBool    = message.Bool
	KindInteger = message.Integer
	KindNumber  = message.Number
	KindString  = message.String
	KindArray   = message.Array
	KindObject  = message.Object
	KindAny     = message.Any
)

// Handler serves a method: it gets the call's parameters as JSON text and
// returns a value to be encoded, or a message.Raw that already is JSON. Its ctx
// ends at the caller's deadline, when the caller's connection is lost, and when
// the handler returns. An *abstract.Error it returns is answered with its code
// and message; any other error is logged and answered with Internal.
type Handler = router.Handler

// NewRpcServer makes a server of methods for addr ("host:port", or "unix:/path").
func NewRpcServer(addr string, opts ...Option) *RpcServer {
	return newRpcServer(newEndpoint(addr, newConfig(opts)))
}

func newRpcServer(ep *endpoint) *RpcServer {
	s := &RpcServer{
		ep:          ep,
		instance:    cmp.Or(ep.cfg.callee.instance, rand.Text()),
		state:       ep.cfg.traits.State,
		idle:        make(chan struct{}, 1),
		registering: make(chan struct{}, 1),
		workers:     workers.New(workers.Config{Max: ep.cfg.handlers, Queue: ep.cfg.handlerQueue}),
	}
	s.router = s.newRouter(router.Config{Logger: ep.logs.rpc, Interceptor: ep.cfg.chain})
	ep.instance = s.instance
	s.gate = newGate(s)
	dispatch.On(ep.dispatch, abstract.ReqRPC, s.onRpcRequest)
	dispatch.On(ep.dispatch, abstract.ReqStream, s.onStreamRequest)
	ep.parts = append(ep.parts, s)
	return s
}

// HandleFunc serves a method with a handler of raw JSON. A method that is served
// already is an error with code Exists. Methods may be added while serving; they
// are registered like the others.
func (s *RpcServer) HandleFunc(d Description, h Handler) error {
	if err := reserved(d.Method); err != nil {
		return err
	}
	if err := s.router.Add(d, h); err != nil {
		return err
	}
	return s.announce(context.Background(), d.Method)
}

// Methods returns the names of the methods served, in order, without those that
// every server has; see abstract.ReservedMethods.
func (s *RpcServer) Methods() []string {
	return slices.DeleteFunc(s.router.Methods(), abstract.IsReserved)
}

// Listen binds the address; see Serve.
func (s *RpcServer) Listen() error { return s.ep.Listen() }

// Addr is the address the server listens on; nil before Listen.
func (s *RpcServer) Addr() net.Addr { return s.ep.Addr() }

// Serve listens, registers the methods when there is a registry, and serves
// until Shutdown is called, and then returns nil. A registry that is away does
// not keep it from serving: the Registrar goes on trying.
func (s *RpcServer) Serve() error {
	if err := s.Listen(); err != nil {
		return err
	}
	switch err := s.Announce(context.Background()); abstract.CodeOf(err) {
	case abstract.OK:
	case abstract.InvalidParams: // no waiting will mend it
		return err
	default:
		s.ep.logs.rpc.Warn("methods not registered yet", "err", err)
	}
	return s.ep.Serve()
}

// Announce listens and registers the methods, and returns when the registry has
// them. Serve does the same, but only logs when the registry is away.
func (s *RpcServer) Announce(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	s.mu.Lock()
	s.serving = true
	s.mu.Unlock()
	return s.announce(ctx, s.Methods()...)
}

// announce registers methods that are not registered yet, once the server serves.
func (s *RpcServer) announce(ctx context.Context, methods ...string) error {
	registry := s.ep.cfg.registry
	if registry == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ep.life, cancel)()
	done, err := s.register(ctx) // Shutdown must not unregister what is just being registered
	if err != nil {
		return err
	}
	defer done()
	fresh, err := s.unregistered(methods)
	if err != nil || len(fresh) == 0 {
		return err
	}
	s.ep.accepts.begin(s.ep.listener) // the registry may look whether we are there
	return registry.Register(ctx, fresh...)
}

// unregistered returns the methods as providers to be registered, and takes them
// for registered: the Registrar goes on trying until they are.
func (s *RpcServer) unregistered(methods []string) ([]abstract.Provider, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.serving || s.paused || s.ep.draining() {
		return nil, nil
	}
	host, err := s.advertised()
	if err != nil {
		return nil, err
	}
	var fresh []abstract.Provider
	for _, m := range methods {
		p := abstract.Provider{Method: m, Host: host, Instance: s.instance, Hello: true, TTL: s.ep.cfg.callee.ttl, Traits: s.ep.cfg.traits}
		p.State = s.state
		p.Relay = s.stopRelayed != nil
		if !slices.Contains(s.registered, p) {
			fresh = append(fresh, p)
		}
	}
	s.registered = append(s.registered, fresh...)
	return fresh, nil
}

// advertised is the address that callers shall use.
func (s *RpcServer) advertised() (abstract.Host, error) {
	if h := s.ep.cfg.advertise; h != nil {
		return *h, nil
	}
	addr := s.Addr().String()
	host, err := abstract.ParseHost(addr)
	if err != nil {
		return host, abstract.Errorf(abstract.InvalidParams, "%q cannot be registered as it is; give the address that callers shall use with WithAdvertise", addr)
	}
	if ip := net.ParseIP(host.IP); ip != nil && ip.IsUnspecified() {
		return host, abstract.Errorf(abstract.InvalidParams, "listening on %s says nothing about where callers reach it; listen on one address or name it with WithAdvertise; without an IP there, the broker takes the address that it sees", addr)
	}
	return host, nil
}

// Shutdown takes leave of callers as Drain does, for a while at most (WithDrain); then
// it unregisters the methods, answers new calls with Draining, waits for the running
// ones, and closes the connections; ctx bounds all of it.
func (s *RpcServer) Shutdown(ctx context.Context) error {
	s.retire(ctx)
	return s.ep.Shutdown(ctx)
}

// start takes calls that come through the registry, where it brings any, and begins
// to look after the registrations.
func (s *RpcServer) start() error {
	s.keep()
	if source, ok := s.ep.cfg.registry.(abstract.CallSource); ok && !s.ep.cfg.relay.unserved {
		stop := source.ServeCalls(s.instance, s)
		s.mu.Lock()
		s.stopRelayed = stop
		s.mu.Unlock()
	}
	return nil
}

func (s *RpcServer) lost(*turn) {}

// close ends the workers. A handler that ignores the end of its context must not
// hold up the shutdown, so nobody waits for it.
func (s *RpcServer) close() {
	s.stopped.Do(func() {
		s.mu.Lock()
		stop := s.stopRelayed
		s.mu.Unlock()
		if stop != nil {
			stop()
		}
		go s.workers.Close()
	})
}
