package server

import (
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

	instance string        // tells our registrations from those of an earlier process at the same address
	active   atomic.Int64  // calls running or waiting
	idle     chan struct{} // receives an element when a draining server's last call ends
	stopped  sync.Once

	registering sync.Mutex // held while the registry is told something

	mu         sync.Mutex
	registered []abstract.Provider // what stands in the registry now
	serving    bool
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
		ep:       ep,
		router:   router.New(router.Config{Logger: ep.logs.rpc}),
		instance: rand.Text(),
		idle:     make(chan struct{}, 1),
		workers:  workers.New(workers.Config{Max: ep.cfg.handlers, Queue: ep.cfg.handlerQueue}),
	}
	dispatch.On(ep.dispatch, abstract.ReqRPC, s.onRpcRequest)
	ep.parts = append(ep.parts, s)
	return s
}

// HandleFunc serves a method with a handler of raw JSON. A method that is served
// already is an error with code Exists. Methods may be added while serving; they
// are registered like the others.
func (s *RpcServer) HandleFunc(d Description, h Handler) error {
	if err := s.router.Add(d, h); err != nil {
		return err
	}
	return s.announce(context.Background(), d.Method)
}

// methodServer is what Handle needs of RpcServer and Broker.
type methodServer interface {
	HandleFunc(Description, Handler) error
}

// Handle serves a method with a typed function. The names and kinds of its
// parameters are those of In's fields, as encoding/json sees them; fields that
// are pointers or marked omitempty may be missing. Calls whose parameters do not
// fit are answered with InvalidParams and never reach fn.
func Handle[In, Out any](srv methodServer, method string, fn func(ctx context.Context, in In) (Out, error)) error {
	h, d, err := router.Typed(fn)
	if err != nil {
		return err
	}
	d.Method = method
	return srv.HandleFunc(d, h)
}

// Methods returns the names of the methods served, in order.
func (s *RpcServer) Methods() []string { return s.router.Methods() }

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
	return s.announce(ctx, s.router.Methods()...)
}

// announce registers methods that are not registered yet, once the server serves.
func (s *RpcServer) announce(ctx context.Context, methods ...string) error {
	registry := s.ep.cfg.registry
	if registry == nil {
		return nil
	}
	s.registering.Lock() // Shutdown must not unregister what is just being registered
	defer s.registering.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ep.life, cancel)()
	fresh, err := s.unregistered(methods)
	if err != nil || len(fresh) == 0 {
		return err
	}
	return registry.Register(ctx, fresh...)
}

// unregistered returns the methods as providers to be registered, and takes them
// for registered: the Registrar goes on trying until they are.
func (s *RpcServer) unregistered(methods []string) ([]abstract.Provider, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.serving || s.ep.draining() {
		return nil, nil
	}
	host, err := s.advertised()
	if err != nil {
		return nil, err
	}
	var fresh []abstract.Provider
	for _, m := range methods {
		p := abstract.Provider{Method: m, Host: host, Instance: s.instance, Hello: true, Traits: s.ep.cfg.traits}
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
		return host, abstract.Errorf(abstract.InvalidParams, "listening on %s says nothing about where callers reach it; listen on one address or name it with WithAdvertise", addr)
	}
	return host, nil
}

// Shutdown unregisters the methods, answers new calls with Draining, waits for
// the running ones, and closes the connections; ctx bounds all of it.
func (s *RpcServer) Shutdown(ctx context.Context) error { return s.ep.Shutdown(ctx) }

func (s *RpcServer) drain(ctx context.Context) {
	s.registering.Lock()
	defer s.registering.Unlock()
	s.mu.Lock()
	gone := s.registered
	s.registered, s.serving = nil, false
	s.mu.Unlock()
	if len(gone) > 0 {
		if err := s.ep.cfg.registry.Unregister(ctx, gone...); err != nil {
			s.ep.logs.rpc.Warn("methods not unregistered", "err", err)
		}
	}
	for s.active.Load() > 0 {
		select {
		case <-s.idle: // look again
		case <-ctx.Done():
			s.ep.logs.rpc.Warn("calls still running at the end of the shutdown's time")
			return
		}
	}
}

// enter counts a call in, or refuses it when the server drains.
func (s *RpcServer) enter() bool {
	s.active.Add(1) // before the look, so that drain cannot miss it
	if s.ep.draining() {
		s.exit()
		return false
	}
	return true
}

// exit counts a call out.
func (s *RpcServer) exit() {
	if s.active.Add(-1) == 0 && s.ep.draining() {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

func (s *RpcServer) start() error { return nil }
func (s *RpcServer) lost(*turn)   {}

// close ends the workers. A handler that ignores the end of its context must not
// hold up the shutdown, so nobody waits for it.
func (s *RpcServer) close() { s.stopped.Do(func() { go s.workers.Close() }) }
