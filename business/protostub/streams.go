package protostub

import (
	"context"
	"encoding/json"
	"io"
	"iter"

	"google.golang.org/protobuf/proto"

	"trefoil/abstract"
)

// ServerStream is a method with one message of parameters, and any number of messages
// back. Safe for concurrent use.
type ServerStream[Req, Res proto.Message] struct{ core }

// NewServerStream makes a ServerStream, as NewMethod does a Method.
func NewServerStream[Req, Res proto.Message](name string, req Req, res Res, opts ...Option) *ServerStream[Req, Res] {
	m := new(ServerStream[Req, Res])
	m.init(name, abstract.ServerStream, req, res, opts)
	return m
}

// Name is the name that the method is called by.
func (m *ServerStream[Req, Res]) Name() string { return m.name }

// Call opens a stream when the loop begins, and returns its messages. The last pair
// carries the error, if there is one. Leaving the loop ends the stream.
func (m *ServerStream[Req, Res]) Call(ctx context.Context, c abstract.Caller, in Req, opts ...abstract.CallOption) iter.Seq2[Res, error] {
	return func(yield func(Res, error) bool) {
		s, err := m.open(ctx, c, in, opts)
		if err != nil {
			yield(as[Res](nil, err))
			return
		}
		defer func() { _ = s.Close() }() // nobody wants to know
		for v, err := range s.messages(m.res.read) {
			if !yield(as[Res](v, err)) {
				return
			}
		}
	}
}

// Served is the method with what serves it: fn, whose return ends the stream.
func (m *ServerStream[Req, Res]) Served(fn func(ctx context.Context, in Req, send func(Res) error) error) abstract.Method {
	d := m.described()
	d.Stream = func(in any, s abstract.Stream) error {
		p := in.(*parameters)
		if p.fault != nil {
			return p.fault
		}
		return fn(s.Context(), p.message.(Req), func(v Res) error { return m.send(s, &m.res, v) })
	}
	return d
}

// ClientStream is a method with any number of messages, and one back when they have
// ended. Safe for concurrent use.
type ClientStream[Req, Res proto.Message] struct{ core }

// NewClientStream makes a ClientStream, as NewMethod does a Method.
func NewClientStream[Req, Res proto.Message](name string, req Req, res Res, opts ...Option) *ClientStream[Req, Res] {
	m := new(ClientStream[Req, Res])
	m.init(name, abstract.ClientStream, req, res, opts)
	return m
}

// Name is the name that the method is called by.
func (m *ClientStream[Req, Res]) Name() string { return m.name }

// Open opens a stream. See OpenClientStream on how it ends.
func (m *ClientStream[Req, Res]) Open(ctx context.Context, c abstract.Caller, opts ...abstract.CallOption) (*OpenClientStream[Req, Res], error) {
	s, err := m.open(ctx, c, nil, opts)
	if err != nil {
		return nil, err
	}
	return &OpenClientStream[Req, Res]{s}, nil
}

// Served is the method with what serves it: fn, which gets the messages and returns
// the one that goes back. It need not take all of them. A message that does not fit
// comes as an error, after which there are no more.
func (m *ClientStream[Req, Res]) Served(fn func(ctx context.Context, in iter.Seq2[Req, error]) (Res, error)) abstract.Method {
	d := m.described()
	d.Stream = func(_ any, s abstract.Stream) error {
		out, err := fn(s.Context(), received[Req](&opened{s, &m.core}, m.req.read))
		if err != nil {
			return err
		}
		return m.send(s, &m.res, out)
	}
	return d
}

// OpenClientStream is a stream of a ClientStream. Whoever opened it calls
// CloseAndReceive or Close, or ends its context.
type OpenClientStream[Req, Res proto.Message] struct{ s *opened }

// Send sends a message. It waits while the other side has no room for more.
func (o *OpenClientStream[Req, Res]) Send(v Req) error {
	return o.s.core.send(o.s.Stream, &o.s.core.req, v)
}

// CloseAndReceive says that no more messages come, and waits for the result.
func (o *OpenClientStream[Req, Res]) CloseAndReceive() (Res, error) {
	defer o.Close()
	if err := o.s.CloseSend(); err != nil {
		return as[Res](nil, err)
	}
	m, err := o.s.receive(o.s.core.res.read)
	if err == io.EOF {
		err = abstract.Errorf(abstract.InvalidMessage, "the stream of %s has ended without a result", o.s.core.name)
	}
	return as[Res](m, err)
}

// Context is the stream's.
func (o *OpenClientStream[Req, Res]) Context() context.Context { return o.s.Stream.Context() }

// Close ends the stream, unless it has ended.
func (o *OpenClientStream[Req, Res]) Close() error { return o.s.Stream.Close() }

// BidiStream is a method with any number of messages both ways. Safe for concurrent use.
type BidiStream[Req, Res proto.Message] struct{ core }

// NewBidiStream makes a BidiStream, as NewMethod does a Method.
func NewBidiStream[Req, Res proto.Message](name string, req Req, res Res, opts ...Option) *BidiStream[Req, Res] {
	m := new(BidiStream[Req, Res])
	m.init(name, abstract.BidiStream, req, res, opts)
	return m
}

// Name is the name that the method is called by.
func (m *BidiStream[Req, Res]) Name() string { return m.name }

// Open opens a stream. See OpenBidiStream on how it ends.
func (m *BidiStream[Req, Res]) Open(ctx context.Context, c abstract.Caller, opts ...abstract.CallOption) (*OpenBidiStream[Req, Res], error) {
	s, err := m.open(ctx, c, nil, opts)
	if err != nil {
		return nil, err
	}
	return &OpenBidiStream[Req, Res]{s}, nil
}

// Served is the method with what serves it: fn, whose return ends the stream. A message
// that does not fit comes as an error, after which there are no more.
func (m *BidiStream[Req, Res]) Served(fn func(ctx context.Context, in iter.Seq2[Req, error], send func(Res) error) error) abstract.Method {
	d := m.described()
	d.Stream = func(_ any, s abstract.Stream) error {
		return fn(s.Context(), received[Req](&opened{s, &m.core}, m.req.read), func(v Res) error { return m.send(s, &m.res, v) })
	}
	return d
}

// OpenBidiStream is a stream of a BidiStream. One goroutine may send and another
// receive at the same time. Whoever opened it receives until the error, or calls
// Close, or ends its context.
type OpenBidiStream[Req, Res proto.Message] struct{ s *opened }

// Send sends a message. It waits while the other side has no room for more.
func (o *OpenBidiStream[Req, Res]) Send(v Req) error {
	return o.s.core.send(o.s.Stream, &o.s.core.req, v)
}

// Receive waits for the next message; the error is io.EOF after the last one.
func (o *OpenBidiStream[Req, Res]) Receive() (Res, error) {
	return as[Res](o.s.receive(o.s.core.res.read))
}

// All returns the messages that come. The last pair carries the error, if there is one.
// Leaving the loop leaves the stream as it is.
func (o *OpenBidiStream[Req, Res]) All() iter.Seq2[Res, error] {
	return received[Res](o.s, o.s.core.res.read)
}

// Context is the stream's.
func (o *OpenBidiStream[Req, Res]) Context() context.Context { return o.s.Stream.Context() }

// CloseSend says that no more messages come from this side.
func (o *OpenBidiStream[Req, Res]) CloseSend() error { return o.s.Stream.CloseSend() }

// Close ends the stream, unless it has ended.
func (o *OpenBidiStream[Req, Res]) Close() error { return o.s.Stream.Close() }

// opened is an open stream of a method.
type opened struct {
	abstract.Stream
	core *core
}

// reading reads a message of one of a method's two types.
type reading func(text json.RawMessage, what, of string) (proto.Message, error)

// open opens a stream; in is nil when it has no parameters.
func (c *core) open(ctx context.Context, caller abstract.Caller, in proto.Message, opts []abstract.CallOption) (*opened, error) {
	var params any
	if in != nil {
		params = &outgoing{c.writer, &c.req, in}
	}
	s, err := caller.OpenStream(ctx, c.name, params, c.options(opts)...)
	if err != nil {
		return nil, err
	}
	return &opened{s, c}, nil
}

func (c *core) send(s abstract.Stream, t *shape, m proto.Message) error {
	return s.Send(&outgoing{c.writer, t, m})
}

// receive waits for the next message.
func (o *opened) receive(read reading) (proto.Message, error) {
	var text json.RawMessage
	if err := o.Receive(&text); err != nil {
		return nil, err
	}
	return read(text, "field ", o.core.ofMessage)
}

// messages are those that come, until the stream ends.
func (o *opened) messages(read reading) iter.Seq2[proto.Message, error] {
	return func(yield func(proto.Message, error) bool) {
		for {
			m, err := o.receive(read)
			if err == io.EOF || !yield(m, err) || err != nil {
				return
			}
		}
	}
}

func received[M proto.Message](o *opened, read reading) iter.Seq2[M, error] {
	return func(yield func(M, error) bool) {
		for m, err := range o.messages(read) {
			if !yield(as[M](m, err)) {
				return
			}
		}
	}
}
