package trefoil

import (
	"context"
	"iter"
	"reflect"

	"trefoil/abstract"
)

// Method is a method with the types of its parameters and its result, which both sides
// share as a plain variable: the server handles it, clients call it. Req is a struct,
// whose fields are the parameters, or a map. Methods are safe for concurrent use.
type Method[Req, Res any] struct{ method }

// NewMethod makes a Method. Options of calls given here hold for all its calls, unless
// a call says otherwise. What is wrong with the types is told by Handle.
func NewMethod[Req, Res any](name string, opts ...MethodOption) *Method[Req, Res] {
	return &Method[Req, Res]{newMethod(name, opts)}
}

// Handle serves the method with fn, which is called by many goroutines at once. Its
// ctx ends at the caller's deadline, when the caller has gone or cancels, and when fn
// returns; see abstract.MetadataOf and abstract.PeerOf for what else it knows. An
// *abstract.Error that fn returns is answered with its code and message, any other
// error with Internal. Calls whose parameters do not fit Req never reach fn.
func (m *Method[Req, Res]) Handle(srv abstract.MethodServer, fn func(ctx context.Context, in Req) (Res, error)) error {
	d := m.describe(reflect.TypeFor[Req](), reflect.TypeFor[Res]())
	d.New = func() any { return new(Req) }
	d.Call = func(ctx context.Context, in any) (any, error) { return fn(ctx, *in.(*Req)) }
	return srv.ServeMethod(d)
}

// Call calls the method and waits for its result.
func (m *Method[Req, Res]) Call(ctx context.Context, c abstract.Caller, in Req, opts ...CallOption) (Res, error) {
	x := &exchange[Req, Res]{in: in}
	if err := c.Call(ctx, m.name, &x.in, &x.out, m.with(opts)...); err != nil {
		var none Res
		return none, err
	}
	return x.out, nil
}

// exchange is a call's parameters and result, in one piece of memory.
type exchange[Req, Res any] struct {
	in  Req
	out Res
}

// CallFuture starts a call and returns at once.
func (m *Method[Req, Res]) CallFuture(ctx context.Context, c abstract.Caller, in Req, opts ...CallOption) *Future[Res] {
	return &Future[Res]{c.Start(ctx, m.name, &in, m.with(opts)...)}
}

// CallFunc starts a call and returns at once. fn is called exactly once with its
// outcome, never inside CallFunc and never on the goroutine that reads the connection,
// so it may block and call again.
func (m *Method[Req, Res]) CallFunc(ctx context.Context, c abstract.Caller, in Req, fn func(Res, error), opts ...CallOption) {
	c.StartFunc(ctx, m.name, &in, func(r abstract.Result, err error) { fn(decoded[Res](r, err)) }, m.with(opts)...)
}

// Send sends a call that nobody answers, and returns when it is queued: an error says
// that it was not. Whether it arrives, and what comes of it, is not known.
func (m *Method[Req, Res]) Send(ctx context.Context, c abstract.Caller, in Req, opts ...CallOption) error {
	return c.Send(ctx, m.name, &in, m.with(opts)...)
}

// All calls every provider of the method that is known now, all at the same time and
// each once, and returns one pair for each as they come: its answer, or the error that
// it ended with, for which the Answer says only From. The loop ends when each has
// answered, was lost, or the deadline is over. When there is nobody to call, there is
// one pair with that error. Leaving the loop cancels the other calls.
func (m *Method[Req, Res]) All(ctx context.Context, c abstract.Caller, in Req, opts ...CallOption) iter.Seq2[Answer[Res], error] {
	return func(yield func(Answer[Res], error) bool) {
		for r, err := range c.All(ctx, m.name, &in, m.with(opts)...) {
			var a Answer[Res]
			if r != nil { // a Caller of somebody else's may give none with an error
				a.From = r.From()
			}
			a.Value, err = decoded[Res](r, err)
			if !yield(a, err) {
				return
			}
		}
	}
}

// Answer is what one provider has answered.
type Answer[Res any] struct {
	Value Res
	From  string // the provider's address
}

// decoded is the value of a result.
func decoded[Res any](r abstract.Result, err error) (out Res, _ error) {
	if err == nil {
		err = r.Decode(&out)
	}
	if err != nil {
		var none Res
		return none, err
	}
	return out, nil
}

// Future is a call that was started and not waited for. Dropping it leaks nothing: the
// call ends at its deadline at the latest. Safe for concurrent use.
type Future[Res any] struct{ call abstract.PendingCall }

// Done is closed when the call has ended.
func (f *Future[Res]) Done() <-chan struct{} { return f.call.Done() }

// Wait waits for the call to end and returns its result. When ctx ends first, Wait
// returns ctx's error and the call goes on. It may be called many times.
func (f *Future[Res]) Wait(ctx context.Context) (Res, error) {
	out := new(Res)
	if err := f.call.Wait(ctx, out); err != nil {
		var none Res
		return none, err
	}
	return *out, nil
}

// Cancel ends the call with Cancelled, unless it has ended already.
func (f *Future[Res]) Cancel() { f.call.Cancel() }

// method is what methods of every kind have in common.
type method struct {
	name     string
	settings abstract.MethodSettings
}

func newMethod(name string, opts []MethodOption) method {
	return method{name, abstract.SettingsOf(opts)}
}

// Name is the method's name.
func (m *method) Name() string { return m.name }

// with puts the method's own options before those of a call.
func (m *method) with(opts []CallOption) []CallOption {
	switch own := m.settings.Calls; {
	case len(own) == 0:
		return opts
	case len(opts) == 0:
		return own
	default:
		return append(own[:len(own):len(own)], opts...)
	}
}

// describe is the method as servers take it, yet without its handler.
func (m *method) describe(in, out reflect.Type) abstract.Method {
	return abstract.Method{
		Name: m.name, In: in, Out: out,
		Doc: m.settings.Doc, Examples: m.settings.Examples, Idempotent: m.settings.CallOptions().Idempotent,
	}
}
