package client

import (
	"context"
	"iter"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// TopicClient creates and removes topics, publishes and subscribes. Safe for
// concurrent use.
type TopicClient struct{ conn *Conn }

var (
	_ abstract.Publisher     = (*TopicClient)(nil)
	_ abstract.BulkPublisher = (*TopicClient)(nil)
	_ abstract.Subscriber    = (*TopicClient)(nil)
	_ abstract.TopicMaker    = (*TopicClient)(nil)
)

// NewTopicClient makes a TopicClient on a connection. All of one Conn's
// TopicClients share its subscriptions.
func NewTopicClient(c *Conn) *TopicClient { return &TopicClient{c} }

// Message is one message of a topic.
type Message struct {
	Topic  string
	ID     string            // of the publisher's request
	Data   message.Raw       // JSON text; must not be changed. It shares memory with what came with it, 64 KiB as a rule: copy what is kept for long
	Missed uint64            // how many messages of this subscription were lost right before this one
	Meta   abstract.Metadata // that came with it; must not be changed
	MsgID  string            // what its publisher called it, for Dedup; mostly empty
	Offset uint64            // where it stands in its topic; 0: the broker is an existing program
	Time   time.Time         // when the broker took it; zero for one that was delivered at once
	// Delivered is how often it was delivered to this group or consumer, this time
	// included; 0 where that is not counted.
	Delivered int

	delivery uint64
	held     *holding // of delivery

	ctx context.Context // that Context is made of
}

var _ abstract.Delivery = Message{}

// Info is what is known of the message beside its value.
func (m Message) Info() abstract.DeliveryInfo {
	return abstract.DeliveryInfo{Topic: m.Topic, ID: m.ID, MsgID: m.MsgID, Offset: m.Offset, Time: m.Time, Delivered: m.Delivered, Lost: m.Missed}
}

// Context is the message's: abstract.MetadataOf returns Meta for it, and interceptors
// may have put more there. It ends when the Conn is closed.
func (m Message) Context() context.Context {
	ctx := m.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	if m.Meta != nil && abstract.MetadataOf(ctx) == nil {
		ctx = abstract.IncomingMetadata(ctx, m.Meta)
	}
	return ctx
}

// Decode reads the message into v, which is what encoding/json takes.
func (m Message) Decode(v any) error { return message.Decode(m.Data, v) }

// Create makes a topic. One that is there already stays as it is, with its
// subscribers. A broker that restarted without it gets it again from us.
func (t *TopicClient) Create(ctx context.Context, topic string) error {
	return t.conn.topics.create(ctx, topic, nil)
}

// Remove removes a topic and all its subscriptions; without it the error is
// ErrTopicNotFound.
func (t *TopicClient) Remove(ctx context.Context, topic string) error {
	return t.conn.topics.remove(ctx, topic)
}

// Publish sends a message, v as JSON, to everybody who is subscribed now. It
// returns when the broker has queued it for all of them. A message is never
// sent twice: when the connection is lost in between, the error's Sent says what
// is known. Without the topic the error is ErrTopicNotFound.
func (t *TopicClient) Publish(ctx context.Context, topic string, v any) error {
	if t.conn.cfg.chain != nil {
		return t.conn.topics.publishIntercepted(ctx, topic, v, t.conn.topics.publish)
	}
	return t.conn.topics.publish(ctx, topic, v, abstract.OutgoingMetadata(ctx))
}

// PublishFuture sends a message as Publish does, and returns at once: many can be
// on their way together, and share writes. While the connection is up they arrive
// in the order of the calls; those that have to wait for it may not. Dropping the
// PublishFuture leaks nothing, but loses the news that a message was not taken.
// A json.RawMessage must not be changed before the outcome is there.
// More messages than the broker takes end with Overloaded, at 65,536 unanswered
// ones by default; see WithMaxPending. With interceptors it returns when these have let
// the message through, at the client's timeout or ctx's end at the latest: then it is not
// sent.
func (t *TopicClient) PublishFuture(ctx context.Context, topic string, v any) *PublishFuture {
	if t.conn.cfg.chain != nil {
		p := &publication{done: make(chan struct{})}
		t.conn.topics.publishAside(ctx, topic, v, p)
		return &PublishFuture{p}
	}
	p, err := t.conn.topics.newPublication(ctx, topic, v, abstract.OutgoingMetadata(ctx))
	p.done = make(chan struct{})
	p.start(err)
	return &PublishFuture{p}
}

// PublishFunc is PublishFuture with a callback: fn is called exactly once, with
// what Publish would have returned. Calls come one at a time and in the order of
// the outcomes, never inside PublishFunc and never on the goroutine that reads the
// connection. fn may block, which holds up the callbacks of later messages, and so
// must not wait for these.
func (t *TopicClient) PublishFunc(ctx context.Context, topic string, v any, fn func(error)) {
	if t.conn.cfg.chain != nil {
		t.conn.topics.publishAside(ctx, topic, v, &publication{fn: fn})
		return
	}
	p, err := t.conn.topics.newPublication(ctx, topic, v, abstract.OutgoingMetadata(ctx))
	p.fn = fn
	p.start(err)
}

// Subscribe calls fn for every message of a topic that is published from now on,
// until the subscription is cancelled. Calls come one at a time, in order, on a
// goroutine of their own; fn may block, and messages wait for it up to a limit. A
// nil fn leaves the messages to the Subscription's Messages. Without the topic the
// error is ErrTopicNotFound. A topic may be a filter that names many, those included
// that do not exist yet: names are levels separated by dots, "*" is any one level, and
// ">" at the end any number of them.
//
// After a reconnect the subscription goes on where it was, as far as the topic keeps its
// messages; OnGap is told when it does not.
func (t *TopicClient) Subscribe(ctx context.Context, topic string, fn func(Message), opts ...SubscribeOption) (*Subscription, error) {
	if fn != nil {
		fn = t.conn.cfg.delivering(fn)
	}
	return t.subscribe(ctx, topic, fn, opts)
}

// subscribe is Subscribe, yet fn stands inside no interceptors.
func (t *TopicClient) subscribe(ctx context.Context, topic string, fn func(Message), opts []SubscribeOption) (*Subscription, error) {
	sub := newSubscription(t.conn, topic, t.conn.topics.asks(topic, opts))
	if err := t.conn.topics.subscribe(ctx, sub); err != nil {
		return nil, err
	}
	if fn != nil {
		for range sub.asks.workers {
			t.conn.topics.delivering.Go(func() { sub.deliver(fn) })
		}
	}
	return sub, nil
}

// SubscribeFunc is Subscribe as the contract has it: ctx is the message's.
func (t *TopicClient) SubscribeFunc(ctx context.Context, topic string, fn func(context.Context, abstract.Delivery), opts ...SubscribeOption) (abstract.Unsubscriber, error) {
	sub, err := t.Subscribe(ctx, topic, func(m Message) { fn(m.Context(), m) }, opts...)
	if err != nil {
		return nil, err
	}
	return sub, nil
}

// Deliveries is Messages as the contract has it.
func (t *TopicClient) Deliveries(ctx context.Context, topic string, opts ...SubscribeOption) iter.Seq2[abstract.Delivery, error] {
	return func(yield func(abstract.Delivery, error) bool) {
		for m, err := range t.Messages(ctx, topic, opts...) {
			if !yield(m, err) {
				return
			}
		}
	}
}

// Messages subscribes to a topic and returns its messages as they come, until
// ctx ends, the loop is left, or the Conn is closed. The last pair carries the
// error, if there is one. It subscribes when the loop begins: to be sure of every
// message from a certain moment on, call Subscribe then, with a nil callback.
func (t *TopicClient) Messages(ctx context.Context, topic string, opts ...SubscribeOption) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		sub := newSubscription(t.conn, topic, t.conn.topics.asks(topic, opts))
		if err := t.conn.topics.subscribe(ctx, sub); err != nil {
			yield(Message{}, err)
			return
		}
		defer sub.forget()
		sub.Messages(ctx)(yield)
	}
}

// Cancel ends all of this Conn's subscriptions to a topic. Without one, or
// without the topic, the error is ErrTopicNotFound.
func (t *TopicClient) Cancel(ctx context.Context, topic string) error {
	return t.conn.topics.cancelAll(ctx, topic)
}
