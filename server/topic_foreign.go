package server

import (
	"trefoil/abstract"
	"trefoil/concrete/message"
)

// asMeant is a topic request as its sender means it. What an existing program says beside
// what it knows is its own affair, and a publisher must not say what only we say to
// subscribers, as its frame is the push. In a turn it takes the request's place.
func (s *TopicServer) asMeant(t *turn, m *message.TopicRequest) (*message.TopicRequest, error) {
	switch {
	case t.conn.modern():
		return m, onlyOurs(m)
	case m.Op >= abstract.TopicSet:
		return m, abstract.Errorf(abstract.InvalidOp, "only peers that said HELLO may ask for %s; others create, remove, subscribe, cancel and publish", m.Op)
	case m.More == nil:
		return m, nil
	}
	frame, err := s.ep.protocol.Append(nil, &message.TopicRequest{Header: message.ID(m.ID()), Op: m.Op, Topic: m.Topic, Message: m.Message, Meta: m.Meta})
	if err != nil {
		return m, err
	}
	known, err := s.ep.protocol.DecodeFrame(frame)
	if err != nil {
		return m, err
	}
	t.waiting[t.next-1] = known // who serves several publishes together looks there
	return known.(*message.TopicRequest), nil
}

// onlyOurs refuses a publish with members of pushes: a subscriber would take it for one of
// another of its subscriptions, or acknowledge what it has not got.
func onlyOurs(m *message.TopicRequest) error {
	x := m.More
	if x == nil || !m.Op.Publishes() || x.Sub == "" && x.Delivery == 0 && x.Delivered == 0 && x.Time.IsZero() {
		return nil
	}
	return abstract.Errorf(abstract.InvalidParams, `"sub", "time_ms", "delivery" and "delivered" are what the broker says to subscribers; leave them out of a publish`)
}
