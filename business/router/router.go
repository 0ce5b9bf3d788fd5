// Package router serves calls: it knows each method's description and function,
// and checks the parameters before a call and the result after it.
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

// Handler serves a method: it gets the parameters, the JSON text of an object, and
// returns a value to be encoded, or a message.Raw that is JSON already. It is
// called by many goroutines at once.
type Handler func(ctx context.Context, params message.Raw) (any, error)

// RpcRouter maps methods to their descriptions and functions. Safe for
// concurrent use; calls take no lock of it.
type RpcRouter struct {
	log     *slog.Logger
	schemas func(text message.Raw) (Schema, error)
	chain   abstract.Interceptor // nil: none
	mu      sync.Mutex           // of those who change methods
	methods atomic.Pointer[map[string]*method]
}

type method struct {
	description Description
	handler     Handler // nil for one that serves streams
	schema      Schema  // of the parameters; nil: there is none to check
	stream      StreamHandler
}

// Config is what a RpcRouter takes. The zero value works.
type Config struct {
	Logger      *slog.Logger         // for panics, and causes that callers do not see; default slog.Default()
	Interceptor abstract.Interceptor // around every call of a method that is served; nil: none
	// Schemas makes a Schema of its text. Default: methods with a schema are not served.
	Schemas func(text message.Raw) (Schema, error)
}

// New makes a RpcRouter without methods.
func New(cfg Config) *RpcRouter {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := &RpcRouter{log: cfg.Logger, chain: cfg.Interceptor, schemas: cfg.Schemas}
	r.methods.Store(&map[string]*method{})
	return r
}

// Add adds a method. It is an error with code Exists when the method is there
// already, and with InvalidParams when the description names a kind that is not
// known, or something twice.
func (r *RpcRouter) Add(d Description, h Handler) error {
	if h == nil {
		return errNoHandler(d.Method)
	}
	return r.add(d, h, nil)
}

func errNoHandler(method string) error {
	return abstract.Errorf(abstract.InvalidParams, "method %q needs a handler", method)
}

// add adds a method with one of the handlers.
func (r *RpcRouter) add(d Description, h Handler, stream StreamHandler) error {
	if err := d.check(); err != nil {
		return err
	}
	m, err := r.method(d, h)
	if err != nil {
		return err
	}
	m.stream = stream
	r.mu.Lock()
	defer r.mu.Unlock()
	next := maps.Clone(*r.methods.Load())
	if next[d.Method] != nil {
		return abstract.Errorf(abstract.Exists, "method %q is served already", d.Method)
	}
	next[d.Method] = m
	r.methods.Store(&next)
	return nil
}

// Remove takes a method out, and returns whether it was there. Calls that run go on.
func (r *RpcRouter) Remove(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := maps.Clone(*r.methods.Load())
	if next[name] == nil {
		return false
	}
	delete(next, name)
	r.methods.Store(&next)
	return true
}

// Lookup returns a method's description, whose Parameters must not be changed.
func (r *RpcRouter) Lookup(name string) (Description, bool) {
	m := (*r.methods.Load())[name]
	if m == nil {
		return Description{}, false
	}
	return m.description, true
}

// Methods returns the names of all methods, in order.
func (r *RpcRouter) Methods() []string {
	return slices.Sorted(maps.Keys(*r.methods.Load()))
}

// Answer is the memory of a response, for one call after the other.
type Answer struct {
	Response message.RpcResponse
	text     []byte // of the result
}

// Call serves a request and returns its response, which lies in a and is good until
// a is used again; it never panics. An *abstract.Error that the handler has made
// reaches the caller with its code, message and details. Any other error is logged,
// and the caller gets Internal (Timeout or Cancelled for a context's error): also
// one that the handler got from a call of its own, for what its code says is not
// true of this call.
func (r *RpcRouter) Call(ctx context.Context, req *message.RpcRequest, a *Answer) (rsp *message.RpcResponse) {
	rsp = &a.Response
	defer func() { // of the handler, of what encodes its result, or of its error's own methods
		if v := recover(); v != nil {
			refusal(rsp, req, r.panicked(req, v))
		}
	}()
	result, err := r.serve(ctx, req, a)
	if err != nil {
		refusal(rsp, req, r.public(req, err))
		return rsp
	}
	*rsp = message.RpcResponse{Header: message.ID(req.ID()), Result: result}
	return rsp
}

func refusal(rsp *message.RpcResponse, req *message.RpcRequest, e *abstract.Error) {
	*rsp = message.RpcResponse{Header: message.ID(req.ID()), Code: e.Code, Message: short(e.Message), Details: e.Details}
}

// serve looks a method up and runs it.
func (r *RpcRouter) serve(ctx context.Context, req *message.RpcRequest, a *Answer) (message.Raw, error) {
	m := (*r.methods.Load())[req.Method]
	if m == nil {
		return nil, errNotServed(req.Method)
	}
	if m.handler == nil {
		return nil, abstract.Errorf(abstract.InvalidOp, "method %.64q serves streams; open one in place of calling it", req.Method)
	}
	var value any
	var err error
	if r.chain == nil {
		value, err = m.run(ctx, req.Parameters)
	} else {
		value, err = r.intercepted(ctx, m, req)
	}
	if err != nil {
		return nil, err
	}
	result, err := message.EncodeResultTo(&a.text, value)
	if err != nil {
		r.log.Error("result cannot be encoded", "method", req.Method, "id", req.ID(), "err", err)
		return nil, abstract.Errorf(abstract.Internal, "the method's result cannot be written as JSON")
	}
	if cap(a.text) > keptText {
		a.text = nil // result keeps it for as long as it is needed
	}
	if err := m.description.CheckResult(result); err != nil {
		r.log.Error("result of the wrong kind", "method", req.Method, "id", req.ID(), "err", err)
		return nil, err
	}
	return result, nil
}

// run checks the parameters and calls the handler.
func (m *method) run(ctx context.Context, params message.Raw) (any, error) {
	if !m.description.checked {
		if err := m.check(params); err != nil {
			return nil, err
		}
	}
	value, err := m.handler(ctx, params)
	if err == errKind { //nolint:errorlint // never wrapped
		return nil, m.description.explain(params)
	}
	return value, err
}

// panicked logs what a handler panicked with, and returns what the caller gets to see.
func (r *RpcRouter) panicked(req *message.RpcRequest, v any) *abstract.Error {
	r.log.Error("method panicked", "method", req.Method, "id", req.ID(), "err", v, "stack", string(debug.Stack()))
	return errFailed()
}

// keptText bounds the memory that an Answer keeps for the next result.
const keptText = 128 << 10

// public returns what of an error the caller gets to see, and logs the rest.
func (r *RpcRouter) public(req *message.RpcRequest, err error) *abstract.Error {
	var e *abstract.Error
	ours := errors.As(err, &e)
	if ours && authored(e) {
		if e.Details != nil && message.Valid(e.Details) != nil {
			r.log.Error("details of an error are no JSON", "method", req.Method, "id", req.ID(), "err", err)
			return &abstract.Error{Code: e.Code, Message: e.Message}
		}
		return e
	}
	if !ours {
		switch abstract.CodeOf(err) {
		case abstract.Timeout:
			return abstract.Errorf(abstract.Timeout, "the method did not end before the deadline")
		case abstract.Cancelled:
			return abstract.Errorf(abstract.Cancelled, "the method was cancelled")
		}
	}
	r.log.Error("method failed", "method", req.Method, "id", req.ID(), "err", err)
	return errFailed()
}

func errFailed() *abstract.Error { return abstract.Errorf(abstract.Internal, "the method failed") }

// authored says whether an error was made to be an answer: it has a code, and
// none of the marks of one that came out of a call. Nil is what a handler returns
// by mistake that keeps its error in a variable of type *abstract.Error.
func authored(e *abstract.Error) bool {
	return e != nil && e.Code != abstract.OK && !e.FromPeer && e.Attempts == 0 && e.Instance == "" && e.Sent == abstract.SentUnknown
}

// maxText bounds the text of an error. Receivers refuse much longer ones.
const maxText = 4096

// short cuts a text; half a character at its end is mended by the encoder.
func short(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "..."
	}
	return s
}
