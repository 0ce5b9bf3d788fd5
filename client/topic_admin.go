package client

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"trefoil/abstract"
	"trefoil/business/topic"
	"trefoil/concrete/message"
)

func wild(filter string) bool { return topic.IsWild(filter) }

// CreateWith makes a topic with settings. One that is there with the same settings stays
// as it is; with others the error is ErrExists. A broker that restarted without it gets
// it again from us.
func (t *TopicClient) CreateWith(ctx context.Context, topic string, s abstract.TopicSettings) error {
	return t.conn.topics.create(ctx, topic, &s)
}

// Set changes the settings of a topic, all of them; those that cannot change, such as
// whether it is durable, are an error with code InvalidOp.
func (t *TopicClient) Set(ctx context.Context, topic string, s abstract.TopicSettings) error {
	_, err := t.conn.topics.ask(ctx, abstract.TopicSet, topic, &message.TopicExtras{Settings: message.WriteTopicSettings(s)})
	if err == nil {
		t.conn.topics.recreate(topic, s)
	}
	return err
}

// TopicInfo is what a broker knows of a topic.
type TopicInfo struct {
	Topic       string
	Epoch       string // names the incarnation: one that was removed and made again has another
	Settings    abstract.TopicSettings
	First, Last uint64 // offsets of what is kept; First is Last+1 when nothing is
	Subscribers int    // of all kinds
	Later       int    // messages that were published to be delivered later, and are not yet
	Groups      []GroupInfo
	Present     []Presence     // of a topic that tells
	Consumers   []ConsumerInfo // of a durable topic
}

// GroupInfo is what a broker knows of a queue group.
type GroupInfo struct {
	Group   string `json:"group"`
	Members int    `json:"members"`
	Waiting int    `json:"waiting"`           // messages that nobody has yet
	Resting int    `json:"resting,omitempty"` // messages that were given back, and rest before somebody gets them again
	Failed  uint64 `json:"failed,omitempty"`  // messages that were given back too often, and dropped
}

// ConsumerInfo is how far a durable consumer is.
type ConsumerInfo struct {
	Name        string `json:"name"`
	Acked       uint64 `json:"acked"`       // everything up to this offset is acknowledged
	Pending     uint64 `json:"pending"`     // messages that were not delivered yet: its lag
	Unacked     int    `json:"unacked"`     // delivered, and not acknowledged: at work, or resting after a failure
	Redelivered int    `json:"redelivered"` // of those, delivered more than once
	Members     int    `json:"members"`     // subscriptions that share it at this broker
}

// Info asks about a topic.
func (t *TopicClient) Info(ctx context.Context, topic string) (TopicInfo, error) {
	rsp, err := t.conn.topics.ask(ctx, abstract.TopicInfo, topic, nil)
	if err != nil {
		return TopicInfo{}, err
	}
	var raw struct {
		Topic       string          `json:"topic"`
		Epoch       string          `json:"epoch"`
		Settings    json.RawMessage `json:"settings"`
		First       uint64          `json:"first"`
		Last        uint64          `json:"last"`
		Subscribers int             `json:"subscribers"`
		Later       int             `json:"later"`
		Groups      []GroupInfo     `json:"groups"`
		Present     []Presence      `json:"present"`
		Consumers   []ConsumerInfo  `json:"consumers"`
	}
	if err := message.Decode(rsp.Info, &raw); err != nil {
		return TopicInfo{}, &abstract.Error{Code: abstract.InvalidMessage, Op: "info " + topic, Message: "the broker's answer cannot be read", Err: err}
	}
	settings, err := message.ReadTopicSettings(raw.Settings)
	return TopicInfo{raw.Topic, raw.Epoch, settings, raw.First, raw.Last, raw.Subscribers, raw.Later, raw.Groups, raw.Present, raw.Consumers}, err
}

// RemoveConsumer forgets a durable consumer and how far it is. Its members' subscriptions
// end with ErrNotFound. One that is not there is no error.
func (t *TopicClient) RemoveConsumer(ctx context.Context, topic, name string) error {
	_, err := t.conn.topics.ask(ctx, abstract.TopicForget, topic, &message.TopicExtras{Name: name})
	return err
}

// List returns the names of the topics that a filter names, in order; ">" names all. The
// last pair carries the error, if there is one.
func (t *TopicClient) List(ctx context.Context, filter string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		after := ""
		for {
			var names []string
			rsp, err := t.conn.topics.ask(ctx, abstract.TopicList, filter, &message.TopicExtras{Sub: after, Most: listPage})
			if err == nil {
				err = message.Decode(rsp.Info, &names)
			}
			if err != nil {
				yield("", err)
				return
			}
			for _, name := range names {
				if !yield(name, nil) {
					return
				}
			}
			if len(names) < listPage {
				return
			}
			after = names[len(names)-1]
		}
	}
}

const listPage = 500

// Read returns what a topic keeps, from an offset on: most messages at most, 0 for all that
// fit one answer. It changes nothing.
func (t *TopicClient) Read(ctx context.Context, topic string, offset uint64, most int) ([]Message, error) {
	rsp, err := t.conn.topics.ask(ctx, abstract.TopicRead, topic, &message.TopicExtras{
		From: message.TopicFrom{Where: message.FromOffset, Offset: offset}, Most: most,
	})
	if err != nil || rsp.Info == nil {
		return nil, err
	}
	var raw []struct {
		Offset   uint64            `json:"offset"`
		TimeMs   int64             `json:"time_ms"`
		MsgID    string            `json:"msg_id"`
		TopicMsg json.RawMessage   `json:"topic_msg"`
		Meta     abstract.Metadata `json:"meta"`
	}
	if err := message.Decode(rsp.Info, &raw); err != nil {
		return nil, &abstract.Error{Code: abstract.InvalidMessage, Op: "read " + topic, Message: "the broker's answer cannot be read", Err: err}
	}
	list := make([]Message, len(raw))
	for i, r := range raw {
		list[i] = Message{Topic: topic, ID: r.MsgID, MsgID: r.MsgID, Data: r.TopicMsg, Offset: r.Offset, Time: time.UnixMilli(r.TimeMs), Meta: r.Meta, ctx: t.conn.ctx}
	}
	return list, nil
}

// Publishing is what one publish asks for. The zero value is what Publish does.
type Publishing = abstract.Publishing

// Receipt is what became of a message.
type Receipt = abstract.Receipt

// PublishWith publishes with more to it, and returns what became of the message. On a
// lossless topic it returns when every subscriber has room.
func (t *TopicClient) PublishWith(ctx context.Context, topic string, v any, p Publishing) (Receipt, error) {
	if p.Meta != nil {
		ctx = abstract.WithMetadata(ctx, p.Meta)
	}
	if t.conn.cfg.chain == nil {
		return t.conn.topics.publishWith(ctx, topic, v, &p, abstract.OutgoingMetadata(ctx))
	}
	var got Receipt
	err := t.conn.topics.publishInside(ctx, topic, v, &p, func(ctx context.Context, op *abstract.Operation) (err error) {
		got, err = t.conn.topics.publishWith(ctx, topic, op.Params, &p, op.Meta)
		return err
	})
	return got, err
}

func (t *topics) publishWith(ctx context.Context, topic string, v any, p *Publishing, meta abstract.Metadata) (Receipt, error) {
	err := meta.Check()
	var raw message.Raw
	if err == nil {
		raw, err = message.Encode(v)
	}
	if err != nil {
		return Receipt{}, decorate(asError(err), "publish "+topic, 0, "")
	}
	req := message.TopicRequest{Op: abstract.TopicPublish, Topic: topic, Message: raw, Meta: meta, More: extrasOf(p)}
	rsp, err := t.publishOnce(ctx, &req)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{Offset: rsp.Offset, Subscribers: rsp.Subscribers, Duplicate: rsp.Duplicate, Due: rsp.Due, Scheduled: rsp.Scheduled}, nil
}

// extrasOf is what a publish asks for, on the wire.
func extrasOf(p *Publishing) *message.TopicExtras {
	return &message.TopicExtras{MsgID: p.ID, Delay: p.Delay, At: p.At, TTL: p.TTL, Epoch: p.Epoch, Report: true}
}

// Send publishes a message that nobody acknowledges, and returns when it is queued for the
// connection: whether the broker takes it, and whether the topic is there, is not known.
// Without a connection it is an error.
func (t *TopicClient) Send(ctx context.Context, topic string, v any) error {
	do := func(ctx context.Context, topic string, v any, meta abstract.Metadata) error {
		return t.conn.topics.send(topic, v, meta)
	}
	if t.conn.cfg.chain != nil {
		return t.conn.topics.publishIntercepted(ctx, topic, v, do)
	}
	return do(ctx, topic, v, abstract.OutgoingMetadata(ctx))
}
