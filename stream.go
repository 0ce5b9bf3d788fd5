package trefoil

import (
	"context"
	"errors"
	"io"
	"iter"
	"reflect"

	"trefoil/abstract"
)

// ServerStream is a method that answers one request with any number of messages. Both
// sides share it as a plain variable. Safe for concurrent use.
type ServerStream[Req, Res any] struct{ method }

// NewServerStream makes a ServerStream. Req is a struct, whose fields are the
// parameters, or a map. Options are those of NewMethod.
func NewServerStream[Req, Res any](name string, opts ...MethodOption) *ServerStream[Req, Res] {
	return &ServerStream[Req, Res]{newMethod(name, opts)}
}

// Handle serves the method with fn, which is called by many goroutines at once, each of
// its own. send waits while the caller does not read, and returns why it is of no use any
// more: fn returns then. ctx ends at the caller's deadline, when the caller has gone or
// left its loop, and a while after the server's Shutdown was called. fn's error ends the
// stream as it does a call.
func (m *ServerStream[Req, Res]) Handle(srv abstract.MethodServer, fn func(ctx context.Context, in Req, send func(Res) error) error) error {
	d := m.describe(reflect.TypeFor[Req](), reflect.TypeFor[Res]())
	d.Kind = abstract.ServerStream
	d.New = func() any { return new(Req) }
	d.Stream = func(in any, s abstract.Stream) error { return fn(s.Context(), *in.(*Req), outgoing[Res](s)) }
	return srv.ServeMethod(d)
}

// Call opens a stream and returns its messages as they come. When it ends badly, or
// cannot be opened, the last pair has the error. Leaving the loop ends the stream at
// both sides. It has no deadline but ctx's and the option Timeout's. Each use of what
// Call returns opens a stream of its own.
func (m *ServerStream[Req, Res]) Call(ctx context.Context, c abstract.Caller, in Req, opts ...CallOption) iter.Seq2[Res, error] {
	return func(yield func(Res, error) bool) {
		s, err := c.OpenStream(ctx, m.name, &in, m.with(opts)...)
		if err != nil {
			var none Res
			yield(none, err)
			return
		}
		defer s.Close()
		incoming[Res](s)(yield)
	}
}

// ClientStream is a method that takes any number of messages, and answers with one when
// these have ended. Both sides share it as a plain variable. Safe for concurrent use.
type ClientStream[Req, Res any] struct{ method }

// NewClientStream makes a ClientStream.
func NewClientStream[Req, Res any](name string, opts ...MethodOption) *ClientStream[Req, Res] {
	return &ClientStream[Req, Res]{newMethod(name, opts)}
}

// Handle serves the method with fn, as ServerStream.Handle does. in is used once: it ends
// when the caller has sent all, or with an error, which fn returns. fn may return before
// it has seen everything.
func (m *ClientStream[Req, Res]) Handle(srv abstract.MethodServer, fn func(ctx context.Context, in iter.Seq2[Req, error]) (Res, error)) error {
	d := m.describe(reflect.TypeFor[Req](), reflect.TypeFor[Res]())
	d.Kind = abstract.ClientStream
	d.Stream = func(_ any, s abstract.Stream) error {
		out, err := fn(s.Context(), incoming[Req](s))
		if err != nil {
			return err
		}
		return s.Send(out)
	}
	return srv.ServeMethod(d)
}

// Open opens a stream. Whoever opens one ends it: with CloseAndReceive, Close, or ctx.
func (m *ClientStream[Req, Res]) Open(ctx context.Context, c abstract.Caller, opts ...CallOption) (*Upload[Req, Res], error) {
	s, err := c.OpenStream(ctx, m.name, nil, m.with(opts)...)
	if err != nil {
		return nil, err
	}
	return &Upload[Req, Res]{s}, nil
}

// Upload is the caller's end of a ClientStream.
type Upload[Req, Res any] struct{ stream abstract.Stream }

// Send sends a message. It waits while the other side does not read. The error says why
// nothing more can be sent: the other side may have its answer already, so
// CloseAndReceive tells more.
func (u *Upload[Req, Res]) Send(v Req) error { return u.stream.Send(v) }

// CloseAndReceive says that all is sent, and waits for the answer.
func (u *Upload[Req, Res]) CloseAndReceive() (Res, error) {
	var out, none Res
	defer u.stream.Close()
	if err := u.stream.CloseSend(); err != nil {
		return none, err
	}
	switch err := u.stream.Receive(&out); {
	case errors.Is(err, io.EOF):
		return none, abstract.Errorf(abstract.InvalidMessage, "the stream has ended without an answer")
	case err != nil:
		return none, err
	}
	if err := u.stream.Receive(nil); err != nil && !errors.Is(err, io.EOF) { // sent, and then it went wrong
		return none, err
	}
	return out, nil
}

// Close ends the stream at both sides, without an answer, unless it is over.
func (u *Upload[Req, Res]) Close() error { return u.stream.Close() }

// BidiStream is a method with messages both ways, In to who serves it and Out back. Both
// sides share it as a plain variable. Safe for concurrent use.
type BidiStream[In, Out any] struct{ method }

// NewBidiStream makes a BidiStream.
func NewBidiStream[In, Out any](name string, opts ...MethodOption) *BidiStream[In, Out] {
	return &BidiStream[In, Out]{newMethod(name, opts)}
}

// Handle serves the method with fn, as the Handles of ServerStream and ClientStream do.
// in and send may be used by two goroutines at once. The stream ends when fn returns.
func (m *BidiStream[In, Out]) Handle(srv abstract.MethodServer, fn func(ctx context.Context, in iter.Seq2[In, error], send func(Out) error) error) error {
	d := m.describe(reflect.TypeFor[In](), reflect.TypeFor[Out]())
	d.Kind = abstract.BidiStream
	d.Stream = func(_ any, s abstract.Stream) error { return fn(s.Context(), incoming[In](s), outgoing[Out](s)) }
	return srv.ServeMethod(d)
}

// Open opens a stream. Whoever opens one ends it: with Close or ctx, or by receiving until
// it ends.
func (m *BidiStream[In, Out]) Open(ctx context.Context, c abstract.Caller, opts ...CallOption) (*Exchange[In, Out], error) {
	s, err := c.OpenStream(ctx, m.name, nil, m.with(opts)...)
	if err != nil {
		return nil, err
	}
	return &Exchange[In, Out]{s}, nil
}

// Exchange is the caller's end of a BidiStream. One goroutine may send and another
// receive at the same time.
type Exchange[In, Out any] struct{ stream abstract.Stream }

// Send sends a message. It waits while the other side does not read. The error says why
// nothing more can be sent.
func (x *Exchange[In, Out]) Send(v In) error { return x.stream.Send(v) }

// CloseSend says that nothing more will be sent. What the other side sends can still be
// received.
func (x *Exchange[In, Out]) CloseSend() error { return x.stream.CloseSend() }

// Receive waits for the next message. The error is io.EOF when the other side has ended
// the stream well.
func (x *Exchange[In, Out]) Receive() (Out, error) {
	var out Out
	if err := x.stream.Receive(&out); err != nil {
		var none Out
		return none, err
	}
	return out, nil
}

// All returns the messages that are still to come. When the stream ends badly the last
// pair has the error. Leaving the loop does not end the stream.
func (x *Exchange[In, Out]) All() iter.Seq2[Out, error] { return incoming[Out](x.stream) }

// Close ends the stream at both sides, unless it is over.
func (x *Exchange[In, Out]) Close() error { return x.stream.Close() }

// outgoing sends messages to a stream.
func outgoing[T any](s abstract.Stream) func(T) error { return func(v T) error { return s.Send(v) } }

// incoming returns the messages of a stream until it ends.
func incoming[T any](s abstract.Stream) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			v, none := new(T), *new(T)
			err := s.Receive(v)
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(none, err)
				return
			case !yield(*v, nil):
				return
			}
		}
	}
}
