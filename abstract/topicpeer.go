package abstract

import (
	"context"
	"iter"
)

// Publisher publishes to topics by their names; TopicClient is one. Safe for
// concurrent use.
type Publisher interface {
	// Publish sends v as JSON to everybody who is subscribed, and returns when the broker
	// has it.
	Publish(ctx context.Context, topic string, v any) error
}

// Subscriber subscribes to topics by their names; TopicClient is one. Safe for
// concurrent use.
type Subscriber interface {
	// Deliveries subscribes when the loop begins, and returns messages as they come until
	// ctx ends, the loop is left, or the connection is closed. The last pair carries the
	// error, if there is one.
	Deliveries(ctx context.Context, topic string) iter.Seq2[Delivery, error]
	// SubscribeFunc calls fn for every message from when it returns until the Unsubscriber
	// ends that: one at a time, in order.
	SubscribeFunc(ctx context.Context, topic string, fn func(context.Context, Delivery)) (Unsubscriber, error)
}

// TopicMaker makes topics by their names; TopicClient is one.
type TopicMaker interface {
	// Create makes a topic, unless it is there already.
	Create(ctx context.Context, topic string) error
}

// Unsubscriber ends a subscription.
type Unsubscriber interface {
	Cancel(ctx context.Context) error
}

// Delivery is one message of a topic, for one subscriber.
type Delivery interface {
	// Decode reads the message into v, which is what encoding/json takes.
	Decode(v any) error
	// Lost is how many messages of the subscription were lost right before this one.
	Lost() uint64
	// Context is the message's: it carries the metadata that came with it, which
	// MetadataOf returns, and what interceptors have put there.
	Context() context.Context
}
