package client

import (
	"context"

	"trefoil/abstract"
	"trefoil/business/requestor"
	"trefoil/concrete/message"
)

// Send sends a request that nobody answers, and returns once it is queued for the
// provider: an error says that it was not. Whether it arrives, and what comes of it,
// is not known. A legacy provider gets a call like any other, whose answer is thrown
// away.
func (c *RpcClient) Send(ctx context.Context, method string, params any, opts ...CallOption) error {
	d := askingOf(opts).own()
	d.oneway = true
	if c.cfg.chain == nil {
		_, err := c.wait(ctx, method, params, d)
		return err
	}
	op := &abstract.Operation{Kind: abstract.OpSend, Name: method, Meta: d.allMetadata(ctx), Params: params}
	return c.cfg.around(ctx, op, func(ctx context.Context, op *abstract.Operation) error {
		inner := d.own()
		inner.Meta, inner.final = op.Meta, true
		_, err := c.wait(ctx, method, op.Params, inner)
		return err
	})
}

// sendOff sends the request of a call that nobody waits for, and ends the call. When
// the request could not be queued, or was lost before it was written, the call goes on
// as others do.
func (c *call) sendOff(s *session, req *message.RpcRequest, p *requestor.Pending) {
	req.OneWay = s.modern()
	if !s.enqueue(req, p) {
		return
	}
	s.flushSoon()
	if s.modern() && !s.requests.Forget(p) {
		return // it has ended with its connection
	}
	c.finish(Reply{Instance: c.instance}, nil)
}

// bye says goodbye, after everything that is queued: it must not overtake requests that
// nobody waits for the answers of.
func (s *session) bye(code abstract.RCode, reason string) {
	b, err := s.protocol.Append(nil, &message.Goodbye{Header: message.ID("bye"), Code: code, Reason: reason})
	if err != nil {
		return
	}
	if s.Queue(abstract.Frame{Class: abstract.ClassTopic, Count: 1, Bytes: b}) == nil { // or it ends without
		s.Flush()
	}
}
