package client

import (
	"context"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
	"trefoil/business/dispatch"
	"trefoil/business/requestor"
	"trefoil/business/stream"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// WithStreamWindow sets how many bytes of messages of one stream may wait to be received,
// beside one message that is larger. The default is 64 KiB. Over long distances a stream
// moves one window in each round trip.
func WithStreamWindow(bytes int) Option { return func(c *config) { c.streamWindow = bytes } }

// OpenStream opens a stream of messages to a method that serves one, and returns when the
// provider has taken it. The provider is chosen as for a call, and another one is tried
// only where the first has not taken the stream. That has the client's timeout at most.
// The stream itself ends with ctx, at its deadline, or when it is cancelled, and with the
// option Timeout; without these it has no deadline.
//
// Whoever opens a stream closes it, or ends its context, or receives until there is an
// error. One that is dropped instead stays open, at both sides, until ctx or the
// connection ends.
func (c *RpcClient) OpenStream(ctx context.Context, method string, params any, opts ...CallOption) (abstract.Stream, error) {
	d := askingOf(opts)
	if c.cfg.chain == nil {
		return c.openStream(ctx, method, params, d)
	}
	op := &abstract.Operation{Kind: abstract.OpOpenStream, Name: method, Meta: d.allMetadata(ctx), Params: params}
	err := c.cfg.around(ctx, op, func(ctx context.Context, op *abstract.Operation) (err error) {
		inner := d.own()
		inner.Meta, inner.final = op.Meta, true
		s, err := c.openStream(ctx, method, op.Params, inner)
		if err == nil {
			op.Stream = s
		}
		return err
	})
	switch {
	case err != nil:
		if op.Stream != nil { // refused when it was open
			_ = op.Stream.Close()
		}
		return nil, err
	case op.Stream == nil:
		return nil, &abstract.Error{
			Code: abstract.Internal, Op: "stream " + method, Sent: abstract.SentNo,
			Message: "an interceptor ended it without an error and without a Stream: let it call next, or set one",
		}
	}
	return op.Stream, nil
}

func (c *RpcClient) openStream(ctx context.Context, method string, params any, d *asking) (*stream.End, error) {
	k := &call{stream: &opening{ctx: ctx, quit: func() {}}}
	d = d.own()
	d.Hedged = false // two would be open
	c.prepare(ctx, k, method, params, d)
	if k.extra != nil {
		k.extra.hedged = false
	}
	if limit, ok := c.streamLimit(ctx, k.begun, d.Timeout); ok {
		k.stream.ctx, k.stream.quit = context.WithDeadline(ctx, limit)
	}
	wake := make(chan struct{}, 1)
	k.wake = wake
	k.start(ctx)
	k.await(ctx, wake)
	if k.err != nil {
		k.stream.quit()
		return nil, k.err
	}
	return k.stream.end, nil
}

// streamLimit is when a stream ends at the latest, if that is before its context does.
func (c *RpcClient) streamLimit(ctx context.Context, now time.Time, timeout time.Duration) (limit time.Time, ok bool) {
	own, bounded := ctx.Deadline()
	if bounded { // a handler's is a little longer than what it may use up
		limit, _ = c.cfg.within(ctx, now, own) // the call has the error
		ok = limit.Before(own)
	}
	if timeout > 0 && (!bounded || now.Add(timeout).Before(limit)) {
		return now.Add(timeout), true
	}
	return limit, ok
}

// opening is what a call needs that opens a stream.
type opening struct {
	ctx  context.Context // of the stream
	quit context.CancelFunc

	mu  sync.Mutex
	end *stream.End // of the attempt under way, and then of the stream
}

// verb is what a call does, for its errors.
func (o *opening) verb() string {
	if o == nil {
		return "call "
	}
	return "open stream "
}

// launch sends the request on a session: to who takes the stream it is that of a call
// which is answered with the stream's first credit.
func (o *opening) launch(c *call, s *session, p *requestor.Pending, req *message.RpcRequest, timeoutMs int64) {
	if !s.store(p, c.deadline, abstract.RspRPC, c) {
		return
	}
	if !s.modern() {
		s.requests.Fail(p, &abstract.Error{Code: abstract.Unsupported, Message: s.name() + " is an existing program, which serves no streams"})
		return
	}
	end, err := stream.NewEnd(stream.Config{
		ID: p.ID(), Op: "stream " + req.Method, Context: o.ctx, Wire: s, Set: s.streams, Opener: true, Window: int64(s.cfg.streamWindow),
		Answer: func(refusal *abstract.Error) { s.answered(p, refusal) },
	})
	if err != nil {
		s.requests.Fail(p, err)
		return
	}
	end.From(c.instance)
	o.mu.Lock()
	o.end = end
	o.mu.Unlock()
	c.mu.Lock()
	over := c.pending != p
	c.mu.Unlock()
	if over { // and who has ended it has not seen the stream
		o.failed()
		return
	}
	open := &message.StreamRequest{
		Header: message.ID(p.ID()), Method: req.Method, Parameters: req.Parameters, Credit: end.Window(), Instance: req.Instance, Relay: req.Relay, Meta: req.Meta,
	}
	if deadline, ok := o.ctx.Deadline(); ok {
		open.TimeoutMs = budget(time.Until(deadline))
	}
	s.post(open, p)
	c.mu.Lock()
	gaveUp := c.gaveUp
	c.mu.Unlock()
	if gaveUp != nil { // before there was anything to cancel
		s.requests.Cancel(p, gaveUp)
	}
}

// answered ends the call with which a stream is opened.
func (s *session) answered(p *requestor.Pending, refusal *abstract.Error) {
	rsp := &message.RpcResponse{Header: message.ID(p.ID()), Result: message.Raw(`{}`)}
	if refusal != nil {
		rsp.Code, rsp.Message, rsp.Details = refusal.Code, refusal.Message, refusal.Details
	}
	s.requests.Complete(rsp)
}

// taken ends the call: the stream is open. The choice of its provider is given back when
// it is over, and until then counts as a call that is pending there.
func (o *opening) taken(c *call) {
	c.mu.Lock()
	chosen := c.choice
	c.choice = choice{}
	entered := c.entered
	c.entered = false
	c.mu.Unlock()
	o.mu.Lock()
	end := o.end
	o.mu.Unlock()
	took := time.Since(c.begun)
	end.Bind(func(why error) {
		o.quit()
		chosen.endTook(outcomeOf(why), time.Now(), took)
		if entered {
			c.client.limits.leave()
		}
	})
	c.finish(Reply{Instance: c.instance, Relayed: c.relayed(c.at, c.session)}, nil)
}

// outcomeOf is what the end of a stream says of its provider.
func outcomeOf(why error) balance.Outcome {
	switch {
	case why == nil:
		return balance.OK
	case abstract.CodeOf(why) == abstract.Cancelled, abstract.CodeOf(why) == abstract.Timeout:
		return balance.Ignored // we have not let it end: its deadline is ours, too
	}
	return balance.OutcomeOf(asError(why))
}

// failed drops the stream of an attempt that has failed.
func (o *opening) failed() {
	if o == nil {
		return
	}
	o.mu.Lock()
	end := o.end
	o.end = nil
	o.mu.Unlock()
	if end != nil {
		end.Drop(abstract.Errorf(abstract.Cancelled, "the stream was not opened"))
	}
}

var _ stream.Wire = (*session)(nil)

// SendStream sends a message of a stream.
func (s *session) SendStream(m abstract.BaseMessage, written func()) error {
	b, err := s.protocol.Append(lv.Memory(room(m)), m)
	if err == nil {
		err = s.judge.CheckSize(len(b))
	}
	if err != nil {
		return err
	}
	free := lv.Recycle
	if written != nil {
		free = func(b []byte) {
			lv.Recycle(b)
			written()
		}
	}
	err = s.Queue(abstract.Frame{Class: abstract.ClassOf(m.Type()), Count: 1, Bytes: s.pack(b), Free: free})
	switch {
	case err == nil && m.Type() == abstract.Cancel:
		s.Flush() // not after others
	case err == nil:
		s.flushSoon()
	case written == nil && abstract.CodeOf(err) == abstract.Overloaded:
		s.Close(err) // the peer does not even read what streams end with
	}
	return err
}

// busy says whether calls or streams are under way.
func (s *session) busy() bool { return s.requests.Len() > 0 || s.streams.Len() > 0 }

// carryStreams hands the messages of streams to these.
func (w *wire) carryStreams() {
	dispatch.On(w.dispatch, abstract.StreamData, func(s *session, m *message.StreamMessage) { s.carry(m) })
	dispatch.On(w.dispatch, abstract.StreamCredit, func(s *session, m *message.CreditNotice) { s.carry(m) })
	dispatch.On(w.dispatch, abstract.StreamEnd, func(s *session, m *message.EndNotice) { s.carry(m) })
}

// carry hands a message to its stream: one of ours, or one that we serve through the broker.
func (s *session) carry(m abstract.BaseMessage) {
	if s.serving != nil && s.streams.Find(m.ID()) == nil {
		s.serving.tell(s, m)
		return
	}
	known, err := s.streams.Take(m)
	switch {
	case err != nil:
		s.Close(err)
	case !known:
		s.cfg.logger.Debug("message of a stream that is over ignored", "peer", s.name(), "type", m.Type().String(), "id", m.ID())
	}
}

// spoilStream ends the stream of a message that cannot be understood.
func (s *session) spoilStream(m abstract.BaseMessage) {
	switch m.Type() {
	case abstract.StreamData, abstract.StreamCredit, abstract.StreamEnd:
		s.streams.Spoil(m.ID(), m.Check())
	case abstract.ReqStream:
		s.answer(&message.EndNotice{Header: message.ID(m.ID()), Code: abstract.CodeOf(m.Check()), Message: asError(m.Check()).Message})
	}
}
