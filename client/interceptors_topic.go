package client

import (
	"context"
	"encoding/json"
	"sync"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// publishIntercepted publishes inside the interceptors; publish does it, and waits.
func (t *topics) publishIntercepted(ctx context.Context, topic string, v any, publish func(ctx context.Context, topic string, v any, meta abstract.Metadata) error) error {
	meta := abstract.OutgoingMetadata(ctx).With(nil)
	op := &abstract.Operation{Kind: abstract.OpPublish, Name: topic, Meta: meta, Params: v}
	return t.conn.cfg.around(ctx, op, func(ctx context.Context, op *abstract.Operation) error {
		return publish(ctx, topic, op.Params, op.Meta)
	})
}

// publishAside is publishIntercepted on a goroutine of its own, for the publication
// end, which only tells of the outcome. It returns when the message is queued, so that
// messages keep their order, or will not be.
func (t *topics) publishAside(ctx context.Context, topic string, v any, end *publication) {
	end.topics, end.ctx, end.req.Topic = t, ctx, topic
	raw, err := message.Encode(v) // the caller may change it when this returns
	if err != nil {
		e := decorate(asError(err), end.what(), 0, "")
		e.Sent = abstract.SentNo
		end.finish(e)
		return
	}
	queued := make(chan struct{})
	once := sync.OnceFunc(func() { close(queued) })
	life, stop := context.WithCancel(ctx) // interceptors must not keep Close waiting
	unbind := context.AfterFunc(t.conn.ctx, stop)
	run := func() {
		defer once()
		defer stop()
		defer unbind()
		err := t.publishIntercepted(life, topic, raw, func(ctx context.Context, topic string, v any, meta abstract.Metadata) error {
			p, err := t.newPublication(ctx, topic, v, meta)
			p.done = make(chan struct{})
			p.start(err)
			once()
			<-p.done
			return p.err
		})
		if ctx.Err() == nil && abstract.CodeOf(err) == abstract.Cancelled && t.conn.ctx.Err() != nil {
			e := *t.conn.closedError()
			e.Sent = asError(err).Sent
			err = decorate(&e, end.what(), 0, t.conn.addr)
		}
		end.finish(err)
	}
	if !t.aside.run(run) {
		unbind()
		stop()
		end.finish(decorate(t.conn.closedError(), end.what(), 0, t.conn.addr))
		return
	}
	<-queued
}

// delivering puts the interceptors around a callback.
func (c *config) delivering(fn func(Message)) func(Message) {
	if c.chain == nil {
		return fn
	}
	return func(m Message) { c.deliver(m, fn) }
}

// handOver gives a message to a loop, inside the interceptors, and returns whether that
// goes on.
func (c *config) handOver(m Message, yield func(Message, error) bool) (more bool) {
	if c.chain == nil {
		return yield(m, nil)
	}
	more = true
	c.deliver(m, func(m Message) { more = yield(m, nil) })
	return more
}

// deliver gives a message to its subscriber, inside the interceptors. One that they
// refuse is passed over.
func (c *config) deliver(m Message, fn func(Message)) {
	op := &abstract.Operation{Kind: abstract.OpDeliver, Name: m.Topic, Meta: m.Meta, Params: m.Data}
	err := c.chain(m.Context(), op, func(ctx context.Context, op *abstract.Operation) error {
		m.ctx = ctx
		if data, ok := op.Params.(json.RawMessage); ok {
			m.Data = data
		}
		fn(m)
		return nil
	})
	if err != nil {
		c.logger.Debug("message refused by an interceptor", "topic", m.Topic, "id", m.ID, "err", err)
	}
}
