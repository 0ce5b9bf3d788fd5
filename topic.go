package trefoil

import (
	"context"
	"encoding/json"
	"iter"
	"reflect"

	"trefoil/abstract"
)

// Topic is a topic with the type of its messages and its settings, which publishers and
// subscribers share as a plain variable. Topics are safe for concurrent use.
type Topic[T any] struct {
	name     string
	settings *abstract.TopicSettings // nil: a plain topic
}

// NewTopic makes a Topic. What its options say is what Create makes of it; nobody else
// looks at them.
func NewTopic[T any](name string, opts ...TopicOption) *Topic[T] {
	t := &Topic[T]{name: name}
	for _, opt := range opts {
		if t.settings == nil {
			t.settings = new(abstract.TopicSettings)
		}
		opt(t.settings, reflect.TypeFor[T]())
	}
	return t
}

// TopicOption changes the settings of a topic, whose messages are of type t.
type TopicOption func(s *abstract.TopicSettings, t reflect.Type)

// Settings gives a topic settings, all but its schema.
func Settings(all abstract.TopicSettings) TopicOption {
	return func(s *abstract.TopicSettings, _ reflect.Type) {
		own := s.Schema
		if *s = all; own != nil {
			s.Schema = own
		}
	}
}

// Schema gives a topic the JSON Schema of its type: messages that do not fit it are
// refused by the broker, whoever publishes them. of makes the schema of a type;
// concrete/schema.Of is one.
func Schema(of func(t reflect.Type) json.RawMessage) TopicOption {
	return func(s *abstract.TopicSettings, t reflect.Type) { s.Schema = of(t) }
}

// Name is the topic's name.
func (t *Topic[T]) Name() string { return t.name }

// Settings are those that Create makes the topic with.
func (t *Topic[T]) Settings() abstract.TopicSettings {
	if t.settings == nil {
		return abstract.TopicSettings{}
	}
	return *t.settings
}

// Create makes the topic at the broker, unless it is there already. If it is there with
// other settings than those of NewTopic the error is ErrExists: see Set. A topic without
// settings takes what is there.
func (t *Topic[T]) Create(ctx context.Context, m abstract.TopicMaker) error {
	if t.settings == nil {
		return m.Create(ctx, t.name)
	}
	return m.CreateWith(ctx, t.name, *t.settings)
}

// Set gives the topic that is at the broker the settings of NewTopic.
func (t *Topic[T]) Set(ctx context.Context, m abstract.TopicMaker) error {
	return m.Set(ctx, t.name, t.Settings())
}

// Publish sends v to everybody who is subscribed, and returns when the broker has it: on
// the disk, if the topic is durable.
func (t *Topic[T]) Publish(ctx context.Context, p abstract.Publisher, v T) error {
	return p.Publish(ctx, t.name, &v)
}

// PublishWith is Publish with more to it, such as an id or a delay, and says what became of
// the message.
func (t *Topic[T]) PublishWith(ctx context.Context, p abstract.Publisher, v T, more abstract.Publishing) (abstract.Receipt, error) {
	return p.PublishWith(ctx, t.name, &v, more)
}

// Send is Publish without an answer: it returns when the message is queued for the
// connection. Whether the broker takes it is not known.
func (t *Topic[T]) Send(ctx context.Context, p abstract.Publisher, v T) error {
	return p.Send(ctx, t.name, &v)
}

// Subscribe subscribes when the loop begins, and returns messages as they come, until
// ctx ends, the loop is left, or the connection is closed; the last pair carries the
// error then. A message that is no T is a pair with an error, too, of code
// InvalidMessage, and the loop goes on after it: to go on after every error is right,
// as the loop ends by itself when there is nothing more. The options are those of package
// client, such as client.FromAll. Lost messages are told of by client.OnGap only; see
// Messages.
func (t *Topic[T]) Subscribe(ctx context.Context, s abstract.Subscriber, opts ...abstract.SubscribeOption) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for d, err := range s.Deliveries(ctx, t.name, opts...) {
			v, err := received[T](t.name, d, err)
			if !yield(v, err) {
				return
			}
		}
	}
}

// Messages is Subscribe with what is known of each message beside its value. Of one
// that is no T, everything else is there.
func (t *Topic[T]) Messages(ctx context.Context, s abstract.Subscriber, opts ...abstract.SubscribeOption) iter.Seq2[Message[T], error] {
	return func(yield func(Message[T], error) bool) {
		for d, err := range s.Deliveries(ctx, t.name, opts...) {
			m := messageOf[T](d)
			m.Value, err = received[T](t.name, d, err)
			if !yield(m, err) {
				return
			}
		}
	}
}

// SubscribeFunc calls fn for every message from when it returns, until the
// Unsubscriber ends that: one at a time, in order, unless client.Workers says otherwise.
// ctx is the message's; calls and messages that are made with it carry on what
// interceptors have put there. A message that is no T comes with an error of code
// InvalidMessage, and the next ones follow.
func (t *Topic[T]) SubscribeFunc(ctx context.Context, s abstract.Subscriber, fn func(ctx context.Context, m Message[T], err error), opts ...abstract.SubscribeOption) (abstract.Unsubscriber, error) {
	return s.SubscribeFunc(ctx, t.name, func(ctx context.Context, d abstract.Delivery) {
		m := messageOf[T](d)
		var err error
		m.Value, err = received[T](t.name, d, nil)
		fn(ctx, m, err)
	}, opts...)
}

// Consume calls fn for every message as the durable consumer of a name, whose position
// outlives the subscription, this program and the broker; the topic must be durable. A
// message whose fn returns nil is done. One whose fn returns an error is delivered again,
// after a while that grows with each time, as often as the topic's MaxDeliver says; then it
// goes to the dead-letter topic, and so does what is no T. Subscriptions of the same
// consumer share its messages. fn may be called twice for one message.
func (t *Topic[T]) Consume(ctx context.Context, s abstract.Subscriber, consumer string, fn func(ctx context.Context, m Message[T]) error, opts ...abstract.SubscribeOption) (abstract.Unsubscriber, error) {
	return s.ConsumeFunc(ctx, t.name, consumer, func(ctx context.Context, d abstract.Delivery) error {
		m := messageOf[T](d)
		var err error
		if m.Value, err = received[T](t.name, d, nil); err != nil {
			return err
		}
		return fn(ctx, m)
	}, opts...)
}
