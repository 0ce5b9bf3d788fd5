package protostub

import (
	"context"
	"iter"
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"

	"trefoil/abstract"
)

// Option says something about a method.
type Option func(*settings)

type settings struct {
	doc        string
	idempotent bool
	writer     writer
}

// Doc is a sentence on what the method does.
func Doc(text string) Option { return func(s *settings) { s.doc = text } }

// Idempotent says that the method may be called twice.
func Idempotent() Option { return func(s *settings) { s.idempotent = true } }

// Numbers writes integers of 64 bits as numbers in place of strings.
func Numbers() Option { return func(s *settings) { s.writer.numbers = true } }

// Method is a method with one message of parameters and one of a result. It is what a
// client's stub and a service are made of, and can be called by itself in the ways
// that the stub does not have. Safe for concurrent use.
type Method[Req, Res proto.Message] struct{ core }

// NewMethod makes a Method of its name and two values of the types, which may be nil.
func NewMethod[Req, Res proto.Message](name string, req Req, res Res, opts ...Option) *Method[Req, Res] {
	m := new(Method[Req, Res])
	m.init(name, abstract.Unary, req, res, opts)
	return m
}

// Name is the name that the method is called by.
func (m *Method[Req, Res]) Name() string { return m.name }

// Call calls the method and waits for the result.
func (m *Method[Req, Res]) Call(ctx context.Context, c abstract.Caller, in Req, opts ...abstract.CallOption) (Res, error) {
	return as[Res](m.call(ctx, c, in, opts))
}

// CallFuture starts a call and returns at once.
func (m *Method[Req, Res]) CallFuture(ctx context.Context, c abstract.Caller, in Req, opts ...abstract.CallOption) *Future[Res] {
	text, err := m.req.write(m.writer, in)
	if err != nil {
		return &Future[Res]{err: err}
	}
	return &Future[Res]{core: &m.core, call: c.Start(ctx, m.name, text, m.options(opts)...)}
}

// CallFunc starts a call and returns at once. fn is called exactly once, on a
// goroutine of its own.
func (m *Method[Req, Res]) CallFunc(ctx context.Context, c abstract.Caller, in Req, fn func(Res, error), opts ...abstract.CallOption) {
	text, err := m.req.write(m.writer, in)
	if err != nil {
		go fn(as[Res](nil, err))
		return
	}
	c.StartFunc(ctx, m.name, text, func(r abstract.Result, err error) { fn(as[Res](m.outcome(r, err))) }, m.options(opts)...)
}

// Send calls the method without being answered, and returns once the request is queued.
func (m *Method[Req, Res]) Send(ctx context.Context, c abstract.Caller, in Req, opts ...abstract.CallOption) error {
	return c.Send(ctx, m.name, &outgoing{m.writer, &m.req, in}, m.options(opts)...)
}

// Answer is what one provider has answered.
type Answer[Res proto.Message] struct {
	Value Res
	From  string // the provider's address
}

// All calls every provider that is known, and returns their answers as they come; it
// ends when each has answered or left.
func (m *Method[Req, Res]) All(ctx context.Context, c abstract.Caller, in Req, opts ...abstract.CallOption) iter.Seq2[Answer[Res], error] {
	return func(yield func(Answer[Res], error) bool) {
		text, err := m.req.write(m.writer, in)
		if err != nil {
			yield(Answer[Res]{}, err)
			return
		}
		for r, err := range c.All(ctx, m.name, text, m.options(opts)...) {
			var a Answer[Res]
			if r != nil {
				a.From = r.From()
			}
			a.Value, err = as[Res](m.outcome(r, err))
			if !yield(a, err) {
				return
			}
		}
	}
}

// Served is the method with what serves it. fn is called by many goroutines at once.
func (m *Method[Req, Res]) Served(fn func(ctx context.Context, in Req) (Res, error)) abstract.Method {
	d := m.described()
	d.Call = func(ctx context.Context, in any) (any, error) {
		p := in.(*parameters)
		if p.fault != nil {
			return nil, p.fault
		}
		out, err := fn(ctx, p.message.(Req))
		if err != nil {
			return nil, err
		}
		p.result = outgoing{m.writer, &m.res, out}
		return &p.result, nil
	}
	return d
}

// Future is a call that was started and not waited for. Safe for concurrent use.
type Future[Res proto.Message] struct {
	core *core
	call abstract.PendingCall
	err  error // it was not started
}

// Done is closed when the call has ended.
func (f *Future[Res]) Done() <-chan struct{} {
	if f.err != nil {
		return closed()
	}
	return f.call.Done()
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Wait waits for the result. When ctx ends first it returns ctx's error, and the call
// goes on. It may be called many times.
func (f *Future[Res]) Wait(ctx context.Context) (Res, error) {
	if f.err != nil {
		return as[Res](nil, f.err)
	}
	in := incoming{shape: &f.core.res}
	err := f.call.Wait(ctx, &in)
	return as[Res](in.message, err)
}

// Cancel ends the call with Cancelled, unless it has ended.
func (f *Future[Res]) Cancel() {
	if f.err == nil {
		f.call.Cancel()
	}
}

// as is m as what it is. A caller that is not ours may have left it out.
func as[M proto.Message](m proto.Message, err error) (M, error) {
	is, ok := m.(M)
	if err == nil && !ok {
		err = abstract.Errorf(abstract.InvalidMessage, "the caller has not read the result")
	}
	return is, err
}

// core is what methods of all kinds have in common, whatever their types are.
type core struct {
	settings
	name      string
	kind      abstract.MethodKind
	of        string // what errors about a parameter end with
	ofMessage string // the same, about a message of a stream
	req, res  shape
	usual     []abstract.CallOption // of every call
}

func (c *core) init(name string, kind abstract.MethodKind, req, res proto.Message, opts []Option) {
	c.name, c.kind, c.req.of, c.res.of = name, kind, req, res
	c.of, c.ofMessage = " of "+name, " of a message of "+name
	for _, opt := range opts {
		opt(&c.settings)
	}
	if c.idempotent {
		c.usual = []abstract.CallOption{func(o *abstract.CallOptions) { o.Idempotent = true }}
	}
}

func (c *core) options(opts []abstract.CallOption) []abstract.CallOption {
	if len(c.usual) == 0 {
		return opts
	}
	return slices.Concat(c.usual, opts)
}

func (c *core) call(ctx context.Context, caller abstract.Caller, in proto.Message, opts []abstract.CallOption) (proto.Message, error) {
	x := &struct { // in one piece of memory
		in  outgoing
		out incoming
	}{outgoing{c.writer, &c.req, in}, incoming{shape: &c.res}}
	if err := caller.Call(ctx, c.name, &x.in, &x.out, c.options(opts)...); err != nil {
		return nil, err
	}
	return x.out.message, nil
}

func (c *core) outcome(r abstract.Result, err error) (proto.Message, error) {
	if err != nil {
		return nil, err
	}
	in := incoming{shape: &c.res}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	return in.message, nil
}

// described is the method without its handler.
func (c *core) described() abstract.Method {
	return abstract.Method{
		Name: c.name, Kind: c.kind, Doc: c.doc, Idempotent: c.idempotent,
		In: reflect.TypeFor[parameters](), Out: reflect.TypeFor[*outgoing](),
		New: func() any { return &parameters{core: c} }, Schemas: c.schemas,
	}
}
