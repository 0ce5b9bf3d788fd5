package abstract

import (
	"context"
	"iter"
	"time"
)

// Publisher publishes to topics by their names; TopicClient is one. Safe for
// concurrent use.
type Publisher interface {
	// Publish sends v as JSON to everybody who is subscribed, and returns when the broker
	// has it.
	Publish(ctx context.Context, topic string, v any) error
	// PublishWith is Publish with more to it, and says what became of the message.
	PublishWith(ctx context.Context, topic string, v any, p Publishing) (Receipt, error)
	// Send sends v without being answered, and returns when it is queued for the
	// connection.
	Send(ctx context.Context, topic string, v any) error
}

// Publishing is what one publish asks for. The zero value is what Publish does.
type Publishing struct {
	ID    string        // of the message: on a topic with Dedup a second one of the same id is not taken
	Meta  Metadata      // over what the context has
	Delay time.Duration // until it is delivered, 366 days at most; only on durable topics, else ErrUnsupported
	At    time.Time     // in place of Delay: when it is delivered, by the broker's wall clock
	TTL   time.Duration // until it is delivered no more; 0: the topic's
	Epoch string        // only to this incarnation of the topic; else ErrConflict
}

// Receipt is what became of a message.
type Receipt struct {
	Offset      uint64 // where it stands in its topic
	Subscribers int    // how many it was queued for at once; a group counts as one
	Duplicate   bool   // it had been taken before
	// Due is when a message is delivered that was published with Delay or At: the broker
	// keeps it until then, and its offset is not known yet. Zero: it is delivered.
	Due time.Time
	// Scheduled is what the message is known by until then; see TopicClient.CancelScheduled.
	Scheduled string
}

// Subscriber subscribes to topics by their names; TopicClient is one. Safe for
// concurrent use.
type Subscriber interface {
	// Deliveries subscribes when the loop begins, and returns messages as they come until
	// ctx ends, the loop is left, or the connection is closed. The last pair carries the
	// error, if there is one.
	Deliveries(ctx context.Context, topic string, opts ...SubscribeOption) iter.Seq2[Delivery, error]
	// SubscribeFunc calls fn for every message from when it returns until the Unsubscriber
	// ends that: one at a time, in order, unless Workers says otherwise.
	SubscribeFunc(ctx context.Context, topic string, fn func(context.Context, Delivery), opts ...SubscribeOption) (Unsubscriber, error)
	// ConsumeFunc is SubscribeFunc as the durable consumer of a name: a message whose fn
	// returns nil is acknowledged, any other is delivered again later.
	ConsumeFunc(ctx context.Context, topic, consumer string, fn func(context.Context, Delivery) error, opts ...SubscribeOption) (Unsubscriber, error)
}

// SubscribeOptions is what one subscription asks for. The zero value is the plain
// subscription.
type SubscribeOptions struct {
	From      TopicFrom // where it begins
	Group     string    // each message goes to one member of the group
	Consumer  string    // the name of a durable consumer
	ManualAck bool      // messages are acknowledged by their Ack, and not when the callback returns
	Where     Metadata  // only messages with these values
	Window    int       // messages that a member of a group, or of a consumer, has in hand; 0: the default
	Workers   int       // callbacks at the same time; 0: 1
	Queue     int       // bytes that wait for the callback; 0: the client's default

	OnGap      func(TopicGap)      // messages were lost
	OnPresence func(TopicPresence) // somebody has come, or gone
}

// SubscribeOption changes one setting of one subscription.
type SubscribeOption func(*SubscribeOptions)

// TopicFrom says where a subscription begins.
type TopicFrom struct {
	Where  FromWhere
	Offset uint64    // of FromOffset
	Time   time.Time // of FromTime
}

// FromWhere is the kind of a TopicFrom.
type FromWhere uint8

// The kinds.
const (
	FromUnsaid FromWhere = iota // as the topic's settings say: the last message of one that retains it, else FromNew
	FromNew                     // what is published from now on; "new"
	FromLast                    // the last message, and what follows; "last"
	FromAll                     // everything that is kept; "all"
	FromOffset                  // what has this offset, and what follows; a number
	FromTime                    // what is not older; {"time_ms":1234}
)

// TopicGap says that messages of a subscription are lost.
type TopicGap struct {
	// Topic is the one that was subscribed to. Of a subscription to many topics it is the one
	// in which messages are Unrecovered; its filter where that is not known, and of Missed.
	Topic string
	// Missed is how many; 0: it is not known.
	Missed uint64
	// Unrecovered: the connection was lost, and what was published meanwhile is not kept
	// any more, or was published to another incarnation of the topic.
	Unrecovered bool
}

// TopicPresence is somebody who is, or was, subscribed to a topic.
type TopicPresence struct {
	Topic    string `json:"-"`
	Joined   bool   `json:"-"`        // else it has left
	Peer     string `json:"peer"`     // its address
	Identity string `json:"identity"` // empty: the broker knows nobody by name
	Sub      string `json:"sub"`      // its own name for the subscription
	Group    string `json:"group"`
	// Missed, unless it is 0, is how many came or went that we are not told of, because too
	// many did: nothing but Topic is set then. TopicClient.Info knows who is there.
	Missed uint64 `json:"missed"`
}

// TopicMaker makes topics by their names; TopicClient is one.
type TopicMaker interface {
	// Create makes a topic, unless it is there already.
	Create(ctx context.Context, topic string) error
	// CreateWith makes a topic with settings. One that is there with others is ErrExists.
	CreateWith(ctx context.Context, topic string, s TopicSettings) error
	// Set changes the settings of a topic, all of them.
	Set(ctx context.Context, topic string, s TopicSettings) error
}

// Unsubscriber ends a subscription.
type Unsubscriber interface {
	Cancel(ctx context.Context) error
}

// Delivery is one message of a topic, for one subscriber.
type Delivery interface {
	// Decode reads the message into v, which is what encoding/json takes.
	Decode(v any) error
	// Info is what is known of the message beside its value.
	Info() DeliveryInfo
	// Context is the message's: it carries the metadata that came with it, which
	// MetadataOf returns, and what interceptors have put there.
	Context() context.Context

	// The rest is for messages that wait to be acknowledged; the error is InvalidOp when
	// this one does not.

	// Ack says that the message is dealt with.
	Ack(ctx context.Context) error
	// Nack gives it back, to be delivered again after delay.
	Nack(ctx context.Context, delay time.Duration) error
	// Fail is Nack with a delay that grows with each delivery.
	Fail(ctx context.Context) error
	// Progress says that somebody is still at work on it.
	Progress(ctx context.Context) error
}

// DeliveryInfo is what is known of a message beside its value.
type DeliveryInfo struct {
	Topic     string
	ID        string    // of the publisher's request
	MsgID     string    // what the publisher called it, for Dedup; mostly empty
	Offset    uint64    // where it stands in its topic; 0: the broker is an existing program
	Time      time.Time // when the broker took it; zero for one that was delivered at once
	Delivered int       // how often, this time included, to its group or consumer; 0 where that is not counted
	Lost      uint64    // how many messages of the subscription were lost right before this one
}
