package server

import (
	"context"
	"errors"
	"slices"
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// publishChecked serves one publish to a topic with settings, or one that asks for more
// than existing programs can.
func (s *TopicServer) publishChecked(t *turn, f *feed, m *message.TopicRequest) {
	s.index.Lock()
	settings := f.settings
	s.index.Unlock()
	if t.patiently(m, settings.Slow == abstract.SlowLossless) || t.later(m, settings.Durable) {
		return
	}
	if settings.Durable {
		s.publishDurable(t, f, m)
		return
	}
	rsp := new(message.TopicResponse)
	err := s.allowedOn(t.conn, settings.Allow.Publish, "publish to", m.Topic)
	if err == nil {
		err = f.check(m, &settings)
	}
	if err == nil {
		err = s.take(t, f, m, rsp)
	}
	s.answerPublish(t.conn, m, rsp, err)
}

// answerPublish says what became of a message, to a publisher that waits for that.
func (s *TopicServer) answerPublish(c *conn, m *message.TopicRequest, rsp *message.TopicResponse, err error) {
	if m.Op == abstract.TopicSend {
		if err != nil {
			s.ep.logs.topic.Debug("message sent and not taken", "peer", c.name(), "topic", m.Topic, "err", err)
		}
		return
	}
	if err != nil {
		c.refuse(m, err)
		return
	}
	if m.More == nil || !m.More.Report {
		rsp.Offset, rsp.Subscribers = 0, 0
	}
	rsp.Header = message.ID(m.ID())
	c.reply(rsp)
}

// check says why a message is not taken, whatever it says.
func (f *feed) check(m *message.TopicRequest, settings *abstract.TopicSettings) error {
	if most := settings.MaxBytes; most > 0 && len(m.Message) > most {
		return abstract.Errorf(abstract.TooLarge, "a message of %d bytes; topic %q takes %d at most", len(m.Message), f.name, most)
	}
	if x := m.More; x != nil {
		if x.Epoch != "" && x.Epoch != f.epoch {
			return f.another(x.Epoch)
		}
		if err := f.checkLater(x, settings); err != nil {
			return err
		}
	}
	if r := f.rule.Load(); r != nil {
		return r.check(f.name, m.Message)
	}
	return nil
}

// another says that a topic is not the incarnation that was meant.
func (f *feed) another(epoch string) error {
	return abstract.Errorf(abstract.Conflict, "topic %q is not the one that is meant any more: it was removed and made again, and is %s now, not %s", f.name, f.epoch, epoch)
}

// take takes a message of a topic that is not durable: into its log, if it has one, and to
// its subscribers.
func (s *TopicServer) take(t *turn, f *feed, m *message.TopicRequest, rsp *message.TopicResponse) error {
	p := &t.pushes
	defer p.forget()
	p.begin(f, []abstract.BaseMessage{m}, s.ep.limits.Load().SubscriberQueue)
	if err := f.lock(t, s, len(m.Frame())); err != nil {
		return err
	}
	defer f.order.Unlock()
	log := s.logOf(f)
	if log == nil {
		reached, err := s.pushNext(t, f, p)
		if !errors.Is(err, errKept) {
			rsp.Offset, rsp.Subscribers = f.last, reached
			return err
		}
		log = s.logOf(f)
	}
	p.kept = true
	entry := abstract.LogEntry{Data: slices.Clone(m.Frame())}
	if m.More != nil {
		entry.ID = strings.Clone(m.More.MsgID) // not the batch that it came in
	}
	offsets, err := log.Append(context.Background(), []abstract.LogEntry{entry})
	if err != nil {
		return err
	}
	rsp.Offset, rsp.Duplicate = offsets[0].Offset, offsets[0].Duplicate
	if rsp.Duplicate {
		return nil
	}
	p.number(rsp.Offset)
	s.pack(p)
	rsp.Subscribers, err = s.push(t, f, p, rsp.Offset)
	return err
}
