package client

import (
	"context"
	"iter"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Scheduled is a message that was published with Delay or At, and is not due yet.
type Scheduled struct {
	ID    string            // what CancelScheduled takes; Receipt.Scheduled says it to the publisher
	Due   time.Time         // when it is published
	Time  time.Time         // when the broker took it
	MsgID string            // what its publisher called it; mostly empty
	Data  message.Raw       // JSON text
	Meta  abstract.Metadata // that comes with it
}

// Scheduled returns the messages of a durable topic that wait to be published, in the order
// in which the broker took them. Who may publish to the topic may see them. What becomes due,
// is cancelled or is published with a delay meanwhile may be missing or among them. The last
// pair carries the error, if there is one.
func (t *TopicClient) Scheduled(ctx context.Context, topic string) iter.Seq2[Scheduled, error] {
	return func(yield func(Scheduled, error) bool) {
		for next := uint64(1); next > 0; {
			list, after, err := t.scheduledFrom(ctx, topic, next)
			if err != nil {
				yield(Scheduled{}, err)
				return
			}
			for _, m := range list {
				if !yield(m, nil) {
					return
				}
			}
			next = after
		}
	}
}

// scheduledFrom returns some of the messages, and where to go on; 0: there are no more.
func (t *TopicClient) scheduledFrom(ctx context.Context, topic string, from uint64) (list []Scheduled, next uint64, err error) {
	rsp, err := t.conn.topics.ask(ctx, abstract.TopicScheduled, topic, &message.TopicExtras{
		From: message.TopicFrom{Where: message.FromOffset, Offset: from}, Most: scheduledPage,
	})
	if err != nil {
		return nil, 0, err
	}
	var raw struct {
		Next     uint64 `json:"next"`
		Messages []struct {
			ID       string            `json:"scheduled"`
			DueMs    int64             `json:"due_ms"`
			TimeMs   int64             `json:"time_ms"`
			MsgID    string            `json:"msg_id"`
			TopicMsg message.Raw       `json:"topic_msg"`
			Meta     abstract.Metadata `json:"meta"`
		} `json:"messages"`
	}
	if err := message.Decode(rsp.Info, &raw); err != nil {
		return nil, 0, &abstract.Error{Code: abstract.InvalidMessage, Op: "scheduled " + topic, Message: "the broker's answer cannot be read", Err: err}
	}
	for _, m := range raw.Messages {
		list = append(list, Scheduled{ID: m.ID, Due: time.UnixMilli(m.DueMs), Time: time.UnixMilli(m.TimeMs), MsgID: m.MsgID, Data: m.TopicMsg, Meta: m.Meta})
	}
	return list, raw.Next, nil
}

const scheduledPage = 256

// CancelScheduled takes back a message that was published with Delay or At, by what its
// Receipt, or Scheduled, calls it. When it returns nil the message will not be delivered,
// also not after a crash of the broker. The error is ErrNotFound when the message does not
// wait any more: it was published, is just being published, or may have been, as its log did
// not answer, or was cancelled. Who may publish to the topic may cancel.
//
// Its publisher's own id is remembered as if it had been published: a message with the same
// one is a duplicate for as long as the topic's Dedup.
func (t *TopicClient) CancelScheduled(ctx context.Context, topic, id string) error {
	_, err := t.conn.topics.ask(ctx, abstract.TopicCancelScheduled, topic, &message.TopicExtras{Scheduled: id})
	return err
}
