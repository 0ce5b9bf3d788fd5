package router

import (
	"context"
	"reflect"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// StreamHandler serves a method that is a stream: it gets the parameters, the JSON text
// of an object, and the stream, which ends when it returns, as its error says. It is
// called by many goroutines at once.
type StreamHandler func(params message.Raw, s abstract.Stream) error

// AddStream adds a method that serves streams; errors are those of Add. The kind of the
// result is not looked at.
func (r *RpcRouter) AddStream(d Description, h StreamHandler) error {
	if h == nil {
		return errNoHandler(d.Method)
	}
	if d.Kind == abstract.Unary {
		d.Kind = abstract.BidiStream // the most that it can be
	}
	return r.add(d, nil, h)
}

// StreamOf makes a StreamHandler of a method that is described by Go types, and its
// Description. What its kind has as parameters is as for Of.
func StreamOf(m abstract.Method) (StreamHandler, Description, error) {
	if m.Stream == nil {
		return nil, Description{}, errNoHandler(m.Name)
	}
	d := Description{in: m.In, out: m.Out, schemas: m.Schemas}
	read := func(message.Raw) (any, error) { return nil, nil }
	if m.Kind == abstract.ServerStream {
		fields, err := fieldsOf(m.In)
		if err != nil {
			return nil, Description{}, err
		}
		d.Parameters, d.fields = parametersOf(fields), fields
		decode, fresh := decoder(fields, false), m.New
		if fresh == nil {
			fresh = func() any { return reflect.New(m.In).Interface() }
		}
		read = func(params message.Raw) (any, error) {
			in := fresh()
			return in, decode(params, in)
		}
	} else if kindOf(m.In, reads) == message.Invalid {
		return nil, Description{}, abstract.Errorf(abstract.InvalidParams, "a message of a stream is a JSON value, and %s has none", m.In)
	}
	if resultKind(m.Out) == message.Invalid {
		return nil, Description{}, abstract.Errorf(abstract.InvalidParams, "a message of a stream is a JSON value, and %s has none", m.Out)
	}
	d.Method, d.Kind, d.Doc, d.Examples, d.Idempotent, d.Result = m.Name, m.Kind, m.Doc, m.Examples, m.Idempotent, message.Any
	return func(params message.Raw, s abstract.Stream) error {
		in, err := read(params)
		if err == errKind { //nolint:errorlint // never wrapped
			return d.explain(params)
		}
		if err != nil {
			return err
		}
		if m.Kind != abstract.ServerStream {
			s = typedStream{s, m.Name}
		}
		return m.Stream(in, s)
	}, d, nil
}

// Stream returns the handler of a method that serves streams, when it takes these
// parameters. An error says how the request for one is refused.
func (r *RpcRouter) Stream(name string, params message.Raw) (StreamHandler, error) {
	m := (*r.methods.Load())[name]
	switch {
	case m == nil:
		return nil, errNotServed(name)
	case m.stream == nil:
		return nil, abstract.Errorf(abstract.InvalidOp, "method %.64q serves no streams; call it in place of opening one", name)
	}
	if err := m.check(params); err != nil {
		return nil, err
	}
	return m.stream, nil
}

// Serve runs the handler of a stream inside the interceptors, and returns what the opener
// is told of its end: nil, when it has ended well. It never panics.
func (r *RpcRouter) Serve(h StreamHandler, req *message.StreamRequest, s abstract.Stream) (end *abstract.Error) {
	call := &message.RpcRequest{Header: req.Header, Method: req.Method} // for the log
	defer func() {
		if v := recover(); v != nil {
			end = r.panicked(call, v)
		}
	}()
	err := r.aroundStream(h, req, s)
	if err == nil {
		return nil
	}
	if over := context.Cause(s.Context()); over != nil && abstract.CodeOf(err) == abstract.CodeOf(over) {
		return abstract.Errorf(abstract.CodeOf(over), "the stream was ended") // nobody hears it any more
	}
	e := *r.public(call, err)
	e.Message = short(e.Message)
	return &e
}

// aroundStream serves a stream inside the interceptors. They see its error as the handler
// has returned it, and a panic as an error.
func (r *RpcRouter) aroundStream(h StreamHandler, req *message.StreamRequest, s abstract.Stream) error {
	if r.chain == nil {
		return h(req.Parameters, s)
	}
	op := &abstract.Operation{Kind: abstract.OpServeStream, Name: req.Method, Meta: req.Meta, Params: req.Parameters, Stream: s}
	op.Peer, _ = abstract.PeerOf(s.Context())
	return r.chain(s.Context(), op, func(ctx context.Context, op *abstract.Operation) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = r.panicked(&message.RpcRequest{Header: req.Header, Method: req.Method}, v)
			}
		}()
		params, err := message.Encode(op.Params) // as it is, unless an interceptor has changed it
		if err != nil {
			return err
		}
		return h(params, streamIn{op.Stream, ctx})
	})
}

// streamIn is a stream with the context that interceptors have made.
type streamIn struct {
	abstract.Stream
	ctx context.Context
}

// Context returns it.
func (s streamIn) Context() context.Context { return s.ctx }

func errNotServed(name string) error {
	return abstract.Errorf(abstract.ServiceNotFound, "method %.64q is not served here", name)
}
