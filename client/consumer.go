package client

import (
	"context"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Consumer makes the subscription a member of a durable consumer of a durable topic: the
// broker keeps how far the consumer is, for as long as the topic is there, and each
// message goes to one of its members until it is acknowledged. Several subscriptions of
// one name share it, wherever they are; QueueGroup on a durable topic is the same thing
// with a smaller Window. Where a new consumer begins is said by FromAll and its like; one
// that is there goes on where it is.
//
// A message is acknowledged when its callback has returned, or, with Messages, when the
// next one is asked for. One whose callback panics is given back, and so is what a
// member had when it is cancelled or lost; see Message.Fail. A message can
// come more than once: whoever must not do something twice looks at its Offset.
func Consumer(name string) SubscribeOption {
	return func(o *abstract.SubscribeOptions) { o.Consumer = name }
}

// ManualAck leaves it to the callback, or to the loop, to call Ack, Nack or Fail of each
// message of a Consumer or a QueueGroup, in any order and on any goroutine. What is not
// acknowledged within the topic's AckWait is delivered again.
func ManualAck() SubscribeOption {
	return func(o *abstract.SubscribeOptions) { o.ManualAck = true }
}

// consumerWindow is the Window of a Consumer by default. Members that are slow keep as
// many from others; one at a time would cost a journey for each.
const consumerWindow = 16

// shares says whether messages are shared with others, and acknowledged.
func (o *subscribing) shares() bool { return o.extras.Name != "" || o.extras.Group != "" }

func (o *subscribing) check() error {
	if o.manual && !o.shares() {
		return abstract.Errorf(abstract.InvalidParams, "ManualAck is for messages that are acknowledged: subscribe with Consumer or QueueGroup, too")
	}
	return nil
}

// holding is one life of a subscription at the broker, under a tag of its own: what was
// delivered in it can be acknowledged in it only.
type holding struct {
	sub *Subscription
	tag string
}

// Ack says that the message is dealt with. It returns when that is on its way: if the
// connection is lost just then, or AckWait was over, the message is delivered again, and
// this is no error. For a subscription that acknowledges nothing it is one.
func (m Message) Ack(ctx context.Context) error {
	return m.tell(ctx, "ack", &message.TopicExtras{})
}

// Nack gives the message back, to be delivered again after delay, to whichever member
// has least to do. Delays above 24 h are cut. After the topic's limit of deliveries
// the message goes to its dead-letter topic instead. In the group of a topic that is not
// durable delays above 1 min are cut, a message that was given back before rests for a
// while that grows, up to 1 s, and the 16th time it is dropped, and the member's OnGap told.
func (m Message) Nack(ctx context.Context, delay time.Duration) error {
	return m.tell(ctx, "nack", &message.TopicExtras{Nack: true, Delay: max(0, delay)})
}

// Fail is Nack with a delay that doubles with each delivery: 1 s at first, 1 min at most.
func (m Message) Fail(ctx context.Context) error { return m.Nack(ctx, failedDelay(m.Delivered)) }

// Progress begins the topic's AckWait anew, for who needs longer than that.
func (m Message) Progress(ctx context.Context) error {
	return m.tell(ctx, "progress", &message.TopicExtras{Progress: true})
}

const (
	minFailedDelay = time.Second
	maxFailedDelay = time.Minute
)

// failedDelay is how long a message rests that has failed for the nth time.
func failedDelay(delivered int) time.Duration {
	return min(minFailedDelay<<min(max(0, delivered-1), 10), maxFailedDelay)
}

func (m Message) tell(ctx context.Context, what string, x *message.TopicExtras) error {
	what += " " + m.Topic
	if m.held == nil {
		return &abstract.Error{Code: abstract.InvalidOp, Op: what, Message: "messages of this subscription are not acknowledged; subscribe with Consumer or QueueGroup"}
	}
	if err := ctx.Err(); err != nil {
		return &abstract.Error{Code: abstract.CodeOf(err), Op: what, Message: "the context is over", Sent: abstract.SentNo, Err: err}
	}
	x.Deliveries = []uint64{m.delivery}
	return m.held.tell(what, x)
}

// tell tells the broker something about deliveries. When these are of a connection that
// was lost it has given them to somebody else, and need not know.
func (h *holding) tell(what string, x *message.TopicExtras) error {
	s := h.sub.conn.topics.session.Load()
	if s == nil || h.sub.holding() != h {
		return nil
	}
	x.Sub = h.tag
	err := s.say(&message.TopicRequest{Header: message.ID("0"), Op: abstract.TopicAck, Topic: h.sub.topic, More: x})
	if abstract.CodeOf(err) == abstract.Disconnected {
		return nil
	}
	if err != nil {
		return decorate(asError(err), what, 0, "")
	}
	return nil
}

// holding returns the subscription's life that is under way.
func (s *Subscription) holding() *holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// acks gathers what callbacks have done with, so that one frame says it.
type acks struct {
	mu    sync.Mutex
	held  *holding
	list  []uint64
	timer *time.Timer // tells what waits, also while a callback runs; nil: nothing was gathered yet
}

// ackEvery is how long a message waits at most for others to be acknowledged with it.
const ackEvery = 20 * time.Millisecond

// add notes that a message is dealt with.
func (a *acks) add(m *Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held != m.held {
		a.tell()
		a.held = m.held
	}
	a.list = append(a.list, m.delivery)
	if half := m.held.sub.asks.extras.Window / 2; len(a.list) > half || len(a.list) == message.MaxTopicAcks {
		a.tell()
		return
	}
	if len(a.list) > 1 {
		return
	}
	if a.timer == nil {
		a.timer = time.AfterFunc(ackEvery, a.flush)
	} else {
		a.timer.Reset(ackEvery)
	}
}

// flush acknowledges what was gathered.
func (a *acks) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tell()
}

func (a *acks) tell() {
	if a.timer != nil {
		a.timer.Stop()
	}
	if len(a.list) > 0 {
		_ = a.held.tell("ack", &message.TopicExtras{Deliveries: a.list}) // or it comes again
		a.list = a.list[:0]
	}
}
