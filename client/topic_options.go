package client

import (
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// SubscribeOption changes one setting of one subscription. Typed topics take the same.
type SubscribeOption = abstract.SubscribeOption

// subscribing is what a subscription asks for. One that asks for nothing shares the
// Conn's plain subscription to its topic with others.
type subscribing struct {
	extras  message.TopicExtras
	own     bool // it is one of its own at the broker
	queue   int  // bytes
	workers int
	manual  bool // acknowledging is left to the caller
	gap     func(Gap)
	present func(Presence)
}

// Gap says that messages of a subscription are lost.
type Gap = abstract.TopicGap

// Presence is somebody who is, or was, subscribed to a topic.
type Presence = abstract.TopicPresence

// FromNew begins a subscription with what is published from now on, also on a topic that
// retains its last message.
func FromNew() SubscribeOption { return from(message.TopicFrom{Where: message.FromNew}) }

// FromLast begins with the last message that the topic keeps.
func FromLast() SubscribeOption { return from(message.TopicFrom{Where: message.FromLast}) }

// FromAll begins with the first message that the topic keeps.
func FromAll() SubscribeOption { return from(message.TopicFrom{Where: message.FromAll}) }

// FromOffset begins with the message of an offset, or the first one behind it that is
// kept: then OnGap is told.
func FromOffset(offset uint64) SubscribeOption {
	return from(message.TopicFrom{Where: message.FromOffset, Offset: offset})
}

// FromTime begins with the first message that was taken at t, by the broker's clock, or
// later.
func FromTime(t time.Time) SubscribeOption {
	return from(message.TopicFrom{Where: message.FromTime, Time: t})
}

func from(f message.TopicFrom) SubscribeOption {
	return func(o *abstract.SubscribeOptions) { o.From = f }
}

// QueueGroup makes the subscription a member of a queue group: of what the topic or the filter
// names each message goes to one member. Who has least to do gets it. A message whose
// callback has not returned when the member is lost goes to another one. Messages that
// are read with Messages count as done when the next one is asked for.
func QueueGroup(name string) SubscribeOption {
	return func(o *abstract.SubscribeOptions) { o.Group = name }
}

// Where lets only messages through whose metadata has these values.
func Where(meta abstract.Metadata) SubscribeOption {
	return func(o *abstract.SubscribeOptions) { o.Where = o.Where.With(meta) }
}

// Window sets how many messages a member of a QueueGroup or a Consumer gets before it is
// done with the first, 1,024 at most. The default of a QueueGroup is as many as there are
// Workers: nobody is idle while messages wait for a slow one. More is faster where handlers
// are; that of a Consumer is 16, or as many as there are Workers.
func Window(n int) SubscribeOption {
	return func(o *abstract.SubscribeOptions) { o.Window = max(1, n) }
}

// Workers sets how many calls of the callback may run at the same time; the default is 1,
// which keeps the order.
func Workers(n int) SubscribeOption {
	return func(o *abstract.SubscribeOptions) { o.Workers = max(1, n) }
}

// Queue sets how many bytes of messages may wait for the callback; the default is that of
// WithSubscriptionQueue. The oldest are dropped above it, and counted.
func Queue(bytes int) SubscribeOption {
	return func(o *abstract.SubscribeOptions) { o.Queue = max(1, bytes) }
}

// OnGap calls fn when messages were lost: once for each time, on the goroutine that calls
// the callback, before the next message, or as soon as it is known when there is none.
func OnGap(fn func(Gap)) SubscribeOption {
	return func(o *abstract.SubscribeOptions) { o.OnGap = fn }
}

// OnPresence calls fn when somebody subscribes to the topic or leaves, if the topic's
// settings say that it is told. fn must not block, nor wait for anything of its own
// connection, which reads on when it returns.
func OnPresence(fn func(Presence)) SubscribeOption {
	return func(o *abstract.SubscribeOptions) { o.OnPresence = fn }
}

// asks makes what a subscription asks for of its options. One with wildcards, and one that
// wants what plain subscriptions cannot have, is of its own.
func (t *topics) asks(topic string, opts []SubscribeOption) subscribing {
	a := subscribing{queue: t.conn.cfg.subscribing, workers: 1}
	if len(opts) == 0 && !wild(topic) {
		return a
	}
	var o abstract.SubscribeOptions
	for _, opt := range opts {
		opt(&o)
	}
	if o.Queue > 0 {
		a.queue = o.Queue
	}
	a.workers, a.gap, a.present, a.manual = max(1, o.Workers), o.OnGap, o.OnPresence, o.ManualAck
	a.extras = message.TopicExtras{
		From: o.From, Group: o.Group, Name: o.Consumer, Ack: o.ManualAck || o.Consumer != "",
		Where: o.Where, Window: o.Window, Watch: o.OnPresence != nil,
	}
	a.own = wild(topic) || o.From.Where != abstract.FromUnsaid || o.Group != "" || o.Consumer != "" || o.ManualAck ||
		o.Where != nil || o.Window > 0 || o.OnPresence != nil
	if a.own {
		a.extras.Sub = t.newTag()
	}
	if a.shares() && o.Window == 0 {
		a.extras.Window = a.workers
		if o.Consumer != "" {
			a.extras.Window = max(a.workers, consumerWindow)
		}
	}
	return a
}
