package trefoil

import (
	"context"
	"time"

	"trefoil/abstract"
)

// Message is one message of a topic, for one subscriber.
type Message[T any] struct {
	Value T
	Topic string // that it was published to: of a topic whose name has wildcards one of those that it names
	ID    string // of the publisher's request
	MsgID string // what the publisher called it, for Dedup; mostly empty
	Meta  abstract.Metadata

	Offset    uint64    // where it stands in its topic
	Time      time.Time // when the broker took it; zero for one that was delivered at once
	Delivered int       // how often, this time included, to its group or consumer; 0 where that is not counted
	Lost      uint64    // how many messages of the subscription were lost right before this one

	delivery abstract.Delivery
}

// Ack says that the message is dealt with: it is not delivered again. It is for
// subscriptions with client.ManualAck.
func (m Message[T]) Ack(ctx context.Context) error {
	return m.end("ack", func() error { return m.delivery.Ack(ctx) })
}

// Nack gives the message back, to be delivered again after delay.
func (m Message[T]) Nack(ctx context.Context, delay time.Duration) error {
	return m.end("nack", func() error { return m.delivery.Nack(ctx, delay) })
}

// Fail is Nack with a delay that grows with each delivery.
func (m Message[T]) Fail(ctx context.Context) error {
	return m.end("fail", func() error { return m.delivery.Fail(ctx) })
}

// Progress says that somebody is still at work on the message: the time until it is
// delivered again begins anew.
func (m Message[T]) Progress(ctx context.Context) error {
	return m.end("progress", func() error { return m.delivery.Progress(ctx) })
}

// end does something with the delivery, if there is one: a message that came with the
// error of a loop has none.
func (m Message[T]) end(op string, do func() error) error {
	if m.delivery == nil {
		return &abstract.Error{Code: abstract.InvalidOp, Op: op, Message: "there is no message"}
	}
	return do()
}

// messageOf is a delivery without its value.
func messageOf[T any](d abstract.Delivery) (m Message[T]) {
	if d == nil {
		return m
	}
	about := d.Info()
	m.Topic, m.ID, m.MsgID, m.Offset, m.Time = about.Topic, about.ID, about.MsgID, about.Offset, about.Time
	m.Delivered, m.Lost = about.Delivered, about.Lost
	m.Meta, m.delivery = abstract.MetadataOf(d.Context()), d
	return m
}

// received is the value of a delivery.
func received[T any](topic string, d abstract.Delivery, err error) (v T, _ error) {
	if err != nil {
		return v, err
	}
	if err = d.Decode(&v); err != nil {
		var none T
		return none, unreadable(topic, err)
	}
	return v, nil
}

func unreadable(topic string, err error) error {
	return &abstract.Error{Code: abstract.InvalidMessage, Op: "read a message of " + topic, Message: "it does not fit the topic's type", Err: err}
}
