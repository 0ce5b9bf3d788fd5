package client

import (
	"context"
	"slices"

	"trefoil/abstract"
)

// Consume calls fn for every message of a durable topic as the durable consumer of a
// name: its position is the broker's, and outlives the subscription, this program and the
// broker. Subscriptions of one name share the messages. A message whose fn returns nil is
// acknowledged and not delivered again; one whose fn returns an error, or that interceptors
// refuse, is given back, and delivered again after a while that grows with each time, as
// often as the topic's MaxDeliver says. Then it goes to the dead-letter topic. fn may be
// called twice for one message: it must be able to stand that.
//
// A consumer that is new begins with what is published from now on, unless an option such
// as FromAll says otherwise; one that is known goes on where it was.
func (t *TopicClient) Consume(ctx context.Context, topic, name string, fn func(Message) error, opts ...SubscribeOption) (*Subscription, error) {
	as := func(o *abstract.SubscribeOptions) { o.Consumer, o.ManualAck = name, true }
	return t.subscribe(ctx, topic, func(m Message) { t.settle(m, t.conn.cfg.deliver(m, fn)) }, append(slices.Clip(opts), as))
}

// ConsumeFunc is Consume as the contract has it: ctx is the message's.
func (t *TopicClient) ConsumeFunc(ctx context.Context, topic, name string, fn func(context.Context, abstract.Delivery) error, opts ...SubscribeOption) (abstract.Unsubscriber, error) {
	sub, err := t.Consume(ctx, topic, name, func(m Message) error { return fn(m.Context(), m) }, opts...)
	if err != nil {
		return nil, err
	}
	return sub, nil
}

// settle notes what has become of a message: it is acknowledged together with others, or
// given back.
func (t *TopicClient) settle(m Message, outcome error) {
	if m.held == nil { // an older broker, which knows no consumers
		return
	}
	if outcome == nil {
		m.held.sub.acks.add(&m)
		return
	}
	log := t.conn.cfg.logger
	log.Warn("message given back, as it was not dealt with", "topic", m.Topic, "offset", m.Offset, "delivered", m.Delivered, "err", outcome)
	if err := m.Fail(t.conn.ctx); err != nil { // it comes again when its AckWait is over
		log.Debug("the broker could not be told of a message that is given back", "topic", m.Topic, "offset", m.Offset, "err", err)
	}
}
