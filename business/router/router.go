// Package router serves calls: it knows each method's description and function,
// checks parameters before a call and the result after it.
package router

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Handler serves a method: it gets the parameters as JSON text and returns a
// value to be encoded, or a message.Raw that is JSON already. It is called by many
// goroutines at once.
type Handler func(ctx context.Context, params message.Raw) (any, error)

// RpcRouter maps methods to their descriptions and functions. Safe for
// concurrent use; looking a method up takes no lock.
type RpcRouter struct {
	log     *slog.Logger
	mu      sync.Mutex // of writers
	methods atomic.Pointer[map[string]*entry]
}

type entry struct {
	description Description
	handler     Handler
}

// Config is what a RpcRouter takes. The zero value works.
type Config struct {
	Logger *slog.Logger // for panics and for errors that callers do not see; default slog.Default()
}

// New makes a RpcRouter without methods.
func New(cfg Config) *RpcRouter {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := &RpcRouter{log: cfg.Logger}
	r.methods.Store(&map[string]*entry{})
	return r
}

// Add adds a method. One that is there already is an error with code Exists.
func (r *RpcRouter) Add(d Description, h Handler) error {
	if err := d.check(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.methods.Load()
	if old[d.Method] != nil {
		return abstract.Errorf(abstract.Exists, "method %s is served already", d.Method)
	}
	next := maps.Clone(old)
	next[d.Method] = &entry{d, h}
	r.methods.Store(&next)
	return nil
}

// Lookup returns a method's description.
func (r *RpcRouter) Lookup(method string) (Description, bool) {
	e := (*r.methods.Load())[method]
	if e == nil {
		return Description{}, false
	}
	return e.description, true
}

// Methods returns the names of all methods, in order.
func (r *RpcRouter) Methods() []string {
	return slices.Sorted(maps.Keys(*r.methods.Load()))
}

// Call serves a request and returns its answer; it never panics. Errors that the
// handler makes with a code of its own reach the caller, with their message and
// details; any other error is logged, and the caller gets Internal.
func (r *RpcRouter) Call(ctx context.Context, req *message.RpcRequest) *message.RpcResponse {
	result, err := r.call(ctx, req)
	if err == nil {
		return &message.RpcResponse{Header: message.ID(req.ID()), Result: result}
	}
	rsp := &message.RpcResponse{Header: message.ID(req.ID()), Code: abstract.CodeOf(err)}
	var e *abstract.Error
	switch {
	case errors.As(err, &e):
		rsp.Message, rsp.Details = e.Message, e.Details
	case rsp.Code == abstract.Internal:
		rsp.Message = "the method failed"
		r.log.Error("method failed", "method", req.Method, "id", req.ID(), "err", err)
	}
	return rsp
}

func (r *RpcRouter) call(ctx context.Context, req *message.RpcRequest) (message.Raw, error) {
	e := (*r.methods.Load())[req.Method]
	if e == nil {
		return nil, abstract.Errorf(abstract.ServiceNotFound, "method %q is not served here", req.Method)
	}
	if err := e.description.CheckParameters(req.Parameters); err != nil {
		return nil, err
	}
	value, err := r.run(ctx, e, req)
	if err != nil {
		return nil, err
	}
	raw, err := message.EncodeResult(value)
	if err != nil {
		r.log.Error("result cannot be encoded", "method", req.Method, "id", req.ID(), "err", err)
		return nil, abstract.Errorf(abstract.Internal, "the method's result cannot be written as JSON")
	}
	if err := e.description.CheckResult(raw); err != nil {
		r.log.Error("result of the wrong kind", "method", req.Method, "id", req.ID(), "err", err)
		return nil, err
	}
	return raw, nil
}

// run calls the handler; a panic becomes an error.
func (r *RpcRouter) run(ctx context.Context, e *entry, req *message.RpcRequest) (value any, err error) {
	defer func() {
		if v := recover(); v != nil {
			r.log.Error("method panicked", "method", req.Method, "id", req.ID(), "err", v, "stack", string(debug.Stack()))
			err = abstract.Errorf(abstract.Internal, "the method failed")
		}
	}()
	return e.handler(ctx, req.Parameters)
}
