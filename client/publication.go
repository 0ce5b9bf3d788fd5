package client

import (
	"context"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/requestor"
	"trefoil/concrete/message"
)

// publication is one message on its way to the broker, from the first attempt to
// its one end. Attempts after the first are rare and made the slow way.
type publication struct {
	topics   *topics
	ctx      context.Context // the caller's, for as long as the publication is on its way
	deadline time.Time
	req      message.TopicRequest
	pending  requestor.Pending

	// Who is told of the end: exactly one of these is set.
	wake chan struct{} // receives an element
	done chan struct{} // is closed
	fn   func(error)

	err   error // to be read after the end
	again bool  // for who waits with wake: the message has not left, and may be sent again

	mu      sync.Mutex
	ended   bool
	unwatch func() bool // ends the watching of ctx
}

var _ requestor.Waiter = (*publication)(nil)

// newPublication encodes a message. There is a publication also when that fails,
// for who has to be told.
func (t *topics) newPublication(ctx context.Context, topic string, v any, meta abstract.Metadata) (*publication, error) {
	p := &publication{topics: t, ctx: ctx, deadline: time.Now().Add(t.conn.cfg.timeout)}
	if d, ok := ctx.Deadline(); ok && d.Before(p.deadline) {
		p.deadline = d
	}
	p.req.Op, p.req.Topic = abstract.TopicPublish, topic
	raw, err := message.Encode(v)
	if err == nil && len(meta) > 0 {
		err = meta.Check()
	}
	if err != nil {
		err = p.neverSent(err)
		return p, err
	}
	p.req.Message, p.req.Meta = raw, meta
	return p, nil
}

func (p *publication) what() string { return "publish " + p.req.Topic }

// publish sends a message and waits for its answer.
func (t *topics) publish(ctx context.Context, topic string, v any, meta abstract.Metadata) error {
	p, err := t.newPublication(ctx, topic, v, meta)
	if err != nil {
		return err
	}
	s := t.conn.current.Load()
	if s == nil || ctx.Err() != nil {
		return p.slowly()
	}
	p.wake = t.wakes.Get().(chan struct{})
	if p.send(s) {
		s.flushSoon()
	}
	select {
	case <-p.wake:
	case <-ctx.Done():
		s.requests.Cancel(&p.pending, ctx.Err())
		<-p.wake // by whatever ended it first
	}
	t.wakes.Put(p.wake)
	if p.again {
		return p.slowly()
	}
	return p.err
}

// start sends a message for somebody who does not wait.
func (p *publication) start(err error) {
	s := p.topics.conn.current.Load()
	switch {
	case err != nil:
		p.finish(err)
	case s == nil || p.ctx.Err() != nil:
		p.later()
	case p.send(s):
		p.watch(s)
		s.flushLater()
	}
}

// send queues the request. It returns false when that has failed, and the
// publication goes another way or has ended.
func (p *publication) send(s *session) bool {
	if !s.store(&p.pending, p.deadline, abstract.RspTopic, p) {
		return false
	}
	p.req.Header = message.ID(p.pending.ID())
	return s.enqueue(&p.req, &p.pending)
}

// watch ends the publication when the caller's context ends.
func (p *publication) watch(s *session) {
	if p.ctx.Done() == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.unwatch = context.AfterFunc(p.ctx, func() { s.requests.Cancel(&p.pending, p.ctx.Err()) })
	}
}

// Ended takes the end of the first attempt.
func (p *publication) Ended(m abstract.BaseMessage, err error) {
	addr := p.topics.conn.addr
	if err == nil {
		if rsp := m.(*message.TopicResponse); rsp.Code != abstract.OK {
			err = refused(p.what(), rsp.Code, rsp.Message, addr)
		}
		p.finish(err)
		return
	}
	e := asError(err)
	if e.Code == abstract.Disconnected && e.Sent == abstract.SentNo {
		p.later()
		return
	}
	p.finish(decorate(e, p.what(), 1, addr))
}

// later makes another attempt on another goroutine than the connection's.
func (p *publication) later() {
	if p.wake != nil {
		p.again = true
		p.wake <- struct{}{} // has room
		return
	}
	conn := p.topics.conn
	switch {
	case p.topics.late.Go(func() { p.finish(p.slowly()) }):
	case conn.ctx.Err() != nil:
		p.finish(decorate(conn.closedError(), p.what(), 1, conn.addr))
	default:
		p.finish(&abstract.Error{Code: abstract.Overloaded, Op: p.what(), Message: "too many messages wait for the connection to " + conn.addr + "; publish less at a time", Sent: abstract.SentNo})
	}
}

// slowly publishes as other operations are done: on whatever session there is
// before the deadline.
func (p *publication) slowly() error {
	if err := p.ctx.Err(); err != nil {
		return &abstract.Error{Code: abstract.CodeOf(err), Op: p.what(), Message: "the context was over before the message was sent", Sent: abstract.SentNo, Err: err}
	}
	ctx, cancel := context.WithDeadline(p.ctx, p.deadline)
	defer cancel()
	r := request{want: abstract.RspTopic, build: func(id string) abstract.BaseMessage {
		return &message.TopicRequest{Header: message.ID(id), Op: abstract.TopicPublish, Topic: p.req.Topic, Message: p.req.Message, Meta: p.req.Meta}
	}}
	return p.topics.answered(ctx, p.what(), r)
}

// finish ends the publication.
func (p *publication) finish(err error) {
	p.err = err
	p.mu.Lock()
	p.ended = true
	unwatch := p.unwatch
	p.mu.Unlock()
	if unwatch != nil {
		unwatch()
	}
	switch {
	case p.wake != nil:
		p.wake <- struct{}{} // has room
	case p.done != nil:
		close(p.done)
	case !p.topics.answers.run(p.callBack):
		go p.callBack() // after Close; a callback is never lost
	}
}

func (p *publication) callBack() { p.fn(p.err) }

// PublishFuture is a message that was published and not waited for. Safe for
// concurrent use.
type PublishFuture struct{ p *publication }

// Done is closed when the broker has answered, or the attempt has failed.
func (f *PublishFuture) Done() <-chan struct{} { return f.p.done }

// Wait waits for the outcome, which is what Publish would have returned. When ctx
// ends first, Wait returns ctx's error and the message is on its way still. It may
// be called many times.
func (f *PublishFuture) Wait(ctx context.Context) error {
	select {
	case <-f.p.done:
		return f.p.err
	default:
	}
	select {
	case <-f.p.done:
		return f.p.err
	case <-ctx.Done():
		return &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "wait for " + f.p.what(), Err: ctx.Err()}
	}
}
