package client

import (
	"context"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// publishOnce asks for a publish. When it is not known whether the broker has it, and the
// topic takes a message of its id once only, it is asked for again, until the deadline.
func (t *topics) publishOnce(ctx context.Context, req *message.TopicRequest) (*message.TopicResponse, error) {
	begun, run := time.Now(), t.brokerRun()
	deadline := t.conn.deadline(ctx)
	for {
		rsp, err := t.askWith(ctx, req, false)
		if err == nil || req.More.MsgID == "" || !lostOnItsWay(err) {
			return rsp, err
		}
		left, cancel := context.WithDeadline(ctx, deadline)
		known := t.takesOnce(left, req.Topic, begun, run)
		cancel()
		if !known {
			return nil, err
		}
	}
}

// lostOnItsWay reports whether a request may, or may not, have been done, as its
// connection was lost.
func lostOnItsWay(err error) bool {
	e := asError(err)
	return e.Code == abstract.Disconnected && e.Sent == abstract.SentUnknown
}

// brokerRun names the process that the broker is; empty: it is not known.
func (t *topics) brokerRun() string {
	if s := t.conn.current.Load(); s != nil {
		return s.run
	}
	return ""
}

// takesOnce reports whether the topic still knows the ids of what was published at a time
// to the process run.
func (t *topics) takesOnce(ctx context.Context, topic string, published time.Time, run string) bool {
	info, err := NewTopicClient(t.conn).Info(ctx, topic)
	if err != nil || time.Since(published) >= info.Settings.Dedup {
		return false
	}
	return info.Settings.Durable || run != "" && run == t.brokerRun()
}
