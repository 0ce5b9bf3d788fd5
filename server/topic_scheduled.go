package server

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// scheduledID is what the publisher of a message for later knows it by: its place in the
// log of those, and the incarnation of its topic.
func (f *feed) scheduledID(offset uint64) string {
	return strconv.FormatUint(offset, 10) + "." + f.epoch
}

// scheduledAt is the opposite of scheduledID; ok is false for one of another incarnation.
func (f *feed) scheduledAt(id string) (offset uint64, ok bool, err error) {
	number, epoch, dot := strings.Cut(id, ".")
	offset, err = strconv.ParseUint(number, 10, 63)
	if !dot || err != nil || offset == 0 {
		return 0, false, abstract.Errorf(abstract.InvalidParams, `%q is not what a message for later is known by; take the "scheduled" of its publish's answer, or of the list`, id)
	}
	return offset, epoch == f.epoch, nil
}

// agendaOf returns the feed of a topic, its messages for later opened, for who may publish.
func (s *TopicServer) agendaOf(c *conn, m *message.TopicRequest, what string) (*feed, error) {
	s.index.Lock()
	f, err := s.feedOf(m.Topic)
	durable := false
	if err == nil {
		durable = f.settings.Durable
		err = s.allowedOn(c, f.settings.Allow.Publish, what, m.Topic)
	}
	s.index.Unlock()
	switch {
	case err != nil:
		return nil, err
	case !durable:
		return nil, abstract.Errorf(abstract.Unsupported, "topic %q is not durable, and so has no messages for later", m.Topic)
	}
	return f, s.openAgenda(f)
}

// cancelScheduled takes a message for later back. It is gone for good when that is
// answered: then the log has forgotten it.
func (s *TopicServer) cancelScheduled(c *conn, m *message.TopicRequest) error {
	if m.More == nil || m.More.Scheduled == "" {
		return abstract.Errorf(abstract.InvalidParams, `the "scheduled" of the message to cancel is missing`)
	}
	f, err := s.agendaOf(c, m, "cancel a message for")
	if err != nil {
		return err
	}
	offset, ours, err := f.scheduledAt(m.More.Scheduled)
	if err != nil {
		return err
	}
	a := &f.later
	var ap appointment
	if ours {
		ap, ours = a.takeBack(offset)
	}
	if !ours {
		return abstract.Errorf(abstract.NotFound, "message %s of topic %q does not wait to be published: it was published, is just being published, or may have been, was cancelled, or belonged to a topic of that name that was removed", m.More.Scheduled, m.Topic)
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := a.log.Delete(ctx, offset); err != nil { // who comes later finds out whether it is gone
		s.attend(f, a.enter(ap))
		return err
	}
	s.uncount(a, int(ap.size))
	return nil
}

// scheduledList is the answer to a list of messages for later.
type scheduledList struct {
	Messages []scheduled `json:"messages"`
	Next     uint64      `json:"next,omitempty"` // where to go on; left out when there is no more
}

// scheduled is one of them.
type scheduled struct {
	ID      string          `json:"scheduled"`
	DueMs   int64           `json:"due_ms"`
	TimeMs  int64           `json:"time_ms"`
	MsgID   string          `json:"msg_id,omitempty"`
	Message json.RawMessage `json:"topic_msg"`

	Meta abstract.Metadata `json:"meta,omitempty"`
}

// listScheduled answers with messages that wait to be published later, in the order in
// which they were published.
func (s *TopicServer) listScheduled(c *conn, m *message.TopicRequest) (*message.TopicResponse, error) {
	f, err := s.agendaOf(c, m, "list messages for")
	if err != nil {
		return nil, err
	}
	x := m.More
	if x == nil {
		x = &none
	}
	most := maxRead
	if x.Most > 0 {
		most = min(most, x.Most)
	}
	entries, err := f.later.log.Read(c.ctx, max(1, x.From.Offset), most, min(maxReadBytes, c.judge.MaxFrame()/2))
	if err != nil {
		return nil, err
	}
	list := scheduledList{Messages: []scheduled{}}
	waits := f.later.among(entries)
	for i := range entries {
		e := &entries[i]
		list.Next = e.Offset + 1
		decoded, err := s.ep.protocol.DecodeFrame(e.Data)
		if req, ok := decoded.(*message.TopicRequest); ok && err == nil && waits[e.Offset] {
			list.Messages = append(list.Messages, scheduled{
				ID: f.scheduledID(e.Offset), DueMs: s.dueOfKept(e).UnixMilli(), TimeMs: e.Time.UnixMilli(), MsgID: idOf(req), Message: req.Message, Meta: req.Meta,
			})
		}
	}
	raw, err := message.Encode(list)
	return &message.TopicResponse{Info: raw}, err
}

// among says which of some entries wait: others have been published, and are about to be
// deleted.
func (a *agenda) among(entries []abstract.LogEntry) map[uint64]bool {
	waits := make(map[uint64]bool, len(entries))
	if len(entries) == 0 {
		return waits
	}
	first, last := entries[0].Offset, entries[len(entries)-1].Offset
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ap := range a.heap {
		if ap.offset >= first && ap.offset <= last {
			waits[ap.offset] = true
		}
	}
	return waits
}
