package trefoil

import (
	"context"
	"iter"

	"trefoil/abstract"
)

// Topic is a topic with the type of its messages, which publishers and subscribers
// share as a plain variable. Topics are safe for concurrent use.
type Topic[T any] struct{ name string }

// NewTopic makes a Topic.
func NewTopic[T any](name string) *Topic[T] { return &Topic[T]{name} }

// Name is the topic's name.
func (t *Topic[T]) Name() string { return t.name }

// Create makes the topic at the broker, unless it is there already.
func (t *Topic[T]) Create(ctx context.Context, m abstract.TopicMaker) error {
	return m.Create(ctx, t.name)
}

// Publish sends v to everybody who is subscribed, and returns when the broker has it.
func (t *Topic[T]) Publish(ctx context.Context, p abstract.Publisher, v T) error {
	return p.Publish(ctx, t.name, &v)
}

// Message is one message of a topic, for one subscriber.
type Message[T any] struct {
	Value T
	Lost  uint64 // how many messages of the subscription were lost right before this one
	Meta  abstract.Metadata
}

// Subscribe subscribes when the loop begins, and returns messages as they come, until
// ctx ends, the loop is left, or the connection is closed; the last pair carries the
// error then. A message that is no T is a pair with an error, too, of code
// InvalidMessage, and the loop goes on after it: to go on after every error is right,
// as the loop ends by itself when there is nothing more. Lost messages are not told of;
// see Messages.
func (t *Topic[T]) Subscribe(ctx context.Context, s abstract.Subscriber) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for d, err := range s.Deliveries(ctx, t.name) {
			v, err := received[T](t.name, d, err)
			if !yield(v, err) {
				return
			}
		}
	}
}

// Messages is Subscribe with what is known of each message beside its value. Of one
// that is no T, everything else is there.
func (t *Topic[T]) Messages(ctx context.Context, s abstract.Subscriber) iter.Seq2[Message[T], error] {
	return func(yield func(Message[T], error) bool) {
		for d, err := range s.Deliveries(ctx, t.name) {
			m := messageOf[T](d)
			m.Value, err = received[T](t.name, d, err)
			if !yield(m, err) {
				return
			}
		}
	}
}

// SubscribeFunc calls fn for every message from when it returns, until the
// Unsubscriber ends that: one at a time, in order. ctx is the message's; calls and
// messages that are made with it carry on what interceptors have put there. A message
// that is no T comes with an error of code InvalidMessage, and the next ones follow.
func (t *Topic[T]) SubscribeFunc(ctx context.Context, s abstract.Subscriber, fn func(ctx context.Context, m Message[T], err error)) (abstract.Unsubscriber, error) {
	return s.SubscribeFunc(ctx, t.name, func(ctx context.Context, d abstract.Delivery) {
		m := messageOf[T](d)
		var err error
		m.Value, err = received[T](t.name, d, nil)
		fn(ctx, m, err)
	})
}

// messageOf is a delivery without its value.
func messageOf[T any](d abstract.Delivery) (m Message[T]) {
	if d != nil {
		m.Lost, m.Meta = d.Lost(), abstract.MetadataOf(d.Context())
	}
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
