package client

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// publishIntercepted publishes inside the interceptors; publish does it, and waits.
func (t *topics) publishIntercepted(ctx context.Context, topic string, v any, publish func(ctx context.Context, topic string, v any, meta abstract.Metadata) error) error {
	return t.publishInside(ctx, topic, v, nil, func(ctx context.Context, op *abstract.Operation) error {
		return publish(ctx, topic, op.Params, op.Meta)
	})
}

// publishInside publishes inside the interceptors, which see what else is asked for.
func (t *topics) publishInside(ctx context.Context, topic string, v any, more *Publishing, publish abstract.Next) error {
	meta := abstract.OutgoingMetadata(ctx).With(nil)
	op := &abstract.Operation{Kind: abstract.OpPublish, Name: topic, Meta: meta, Params: v, Publishing: more}
	return t.conn.cfg.around(ctx, op, publish)
}

// aside is a publication inside interceptors whose publisher goes on as soon as the
// message is queued. Who decides first, they or the time that they have for that, tells of
// the outcome.
type aside struct {
	*publication // only tells of the outcome
	raw          message.Raw
	queued       chan struct{} // closed when the message is queued, or will not be
	decided      atomic.Bool
}

// publishAside is publishIntercepted on a goroutine of its own, for the publication
// end. It returns when the message is queued, so that messages keep their order, or will
// not be: at the client's timeout at the latest.
func (t *topics) publishAside(ctx context.Context, topic string, v any, end *publication) {
	end.topics, end.ctx, end.req.Topic = t, ctx, topic
	raw, err := message.Encode(v) // the caller may change it when this returns
	if err != nil {
		end.finish(end.neverSent(err))
		return
	}
	a := &aside{publication: end, raw: raw, queued: make(chan struct{})}
	life, stop := context.WithCancel(ctx) // interceptors must not keep Close waiting
	unbind := context.AfterFunc(t.conn.ctx, stop)
	over := t.aside.begin(func() {
		defer stop()
		defer unbind()
		a.run(life)
	}, t.conn.closedError)
	if over != nil {
		unbind()
		stop()
		end.finish(decorate(over, end.what(), 0, t.conn.addr))
		return
	}
	patience := time.NewTimer(t.conn.cfg.timeout)
	defer patience.Stop()
	select {
	case <-a.queued:
	case <-patience.C:
		a.giveUp(context.DeadlineExceeded)
		stop()
	case <-life.Done():
		a.giveUp(life.Err())
	}
}

// run takes the message through the interceptors. Once their time is over it is not sent.
func (a *aside) run(life context.Context) {
	queued := sync.OnceFunc(func() { close(a.queued) })
	defer queued()
	t, ours := a.topics, false
	err := t.conn.cfg.sheltered(a.what(), func() error {
		return t.publishIntercepted(life, a.req.Topic, a.raw, func(ctx context.Context, topic string, v any, meta abstract.Metadata) error {
			if ours = a.decided.CompareAndSwap(false, true); !ours {
				return a.neverSent(errTooSlow(context.DeadlineExceeded))
			}
			p, err := t.newPublication(ctx, topic, v, meta)
			p.done = make(chan struct{})
			p.start(err)
			queued()
			<-p.done
			return p.err
		})
	})
	if !ours && !a.decided.CompareAndSwap(false, true) {
		return
	}
	a.finish(a.explain(err))
}

// explain says of what the end of the connection has cancelled that this is why.
func (a *aside) explain(err error) error {
	conn := a.topics.conn
	if a.ctx.Err() != nil || abstract.CodeOf(err) != abstract.Cancelled || conn.ctx.Err() == nil {
		return err
	}
	e := *conn.closedError()
	e.Sent = asError(err).Sent
	return decorate(&e, a.what(), 0, conn.addr)
}

// giveUp ends a publication whose interceptors have not let it through in time.
func (a *aside) giveUp(why error) {
	if a.decided.CompareAndSwap(false, true) {
		a.finish(a.explain(a.neverSent(errTooSlow(why))))
	}
}

func errTooSlow(why error) error {
	return &abstract.Error{Code: abstract.CodeOf(why), Message: "its interceptors had not let it through by then", Err: why}
}

// neverSent is the error of a publication that has not left.
func (p *publication) neverSent(err error) error {
	e := decorate(asError(err), p.what(), 0, "")
	e.Sent = abstract.SentNo
	return e
}

// delivering puts the interceptors around a callback.
func (c *config) delivering(fn func(Message)) func(Message) {
	if c.chain == nil {
		return fn
	}
	do := func(m Message) error { fn(m); return nil }
	return func(m Message) { _ = c.deliver(m, do) }
}

// handOver gives a message to a loop, inside the interceptors, and returns whether that
// goes on.
func (c *config) handOver(m Message, yield func(Message, error) bool) (more bool) {
	if c.chain == nil {
		return yield(m, nil)
	}
	more = true
	_ = c.deliver(m, func(m Message) error { more = yield(m, nil); return nil })
	return more
}

// deliver gives a message to its subscriber, inside the interceptors if there are any. One
// that they refuse is passed over, and so is one at which they panic. The subscriber's own
// panic is not held up: its stack is what it dies with. The error is theirs, or fn's.
func (c *config) deliver(m Message, fn func(Message) error) (err error) {
	if c.chain == nil {
		return fn(m)
	}
	op := &abstract.Operation{Kind: abstract.OpDeliver, Name: m.Topic, Meta: m.Meta, Params: m.Data, Delivery: m.Info()}
	theirs := true
	defer func() {
		if !theirs {
			return
		}
		if v := recover(); v != nil {
			err = c.panicked("deliver "+m.Topic, v)
		}
	}()
	err = c.chain(m.Context(), op, func(ctx context.Context, op *abstract.Operation) error {
		m.ctx = ctx
		if data, ok := op.Params.(json.RawMessage); ok {
			m.Data = data
		}
		theirs = false
		err := fn(m)
		theirs = true
		return err
	})
	if err != nil {
		c.logger.Debug("message refused", "topic", m.Topic, "id", m.ID, "err", err)
	}
	return err
}
