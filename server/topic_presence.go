package server

import (
	"slices"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/concrete/message"
)

// presenceQueue is how much of who comes and goes waits for one who watches a topic. What
// is dropped is counted, and told: somebody who subscribes and cancels for ever takes
// nothing but this from others, neither messages nor their connections.
const presenceQueue = 64 << 10

// presence is what others are told of a subscriber.
type presence struct {
	Peer     string `json:"peer"`
	Identity string `json:"identity,omitempty"`
	Sub      string `json:"sub,omitempty"`
	Group    string `json:"group,omitempty"`
}

func (to *subscriber) presence() presence {
	p := presence{Peer: to.conn.RemoteAddr().String(), Sub: to.sub.Tag}
	if id := to.conn.identity(); id != access.Anonymous {
		p.Identity = id
	}
	switch {
	case to.group != nil:
		p.Group = to.group.name
	case to.consumer != nil:
		p.Group = to.consumer.name
	}
	return p
}

// watch opens the queue of who wants to be told who comes and goes.
func (s *TopicServer) watch(to *subscriber) {
	to.sights = to.conn.NewLane(abstract.LaneConfig{MaxBytes: presenceQueue, Policy: abstract.DropOldest, Gap: func(missed uint64) abstract.Frame {
		text, _ := message.Encode(map[string]uint64{"missed": missed})
		return s.sight(to, abstract.TopicCancel, to.sub.Filter, text)
	}})
}

// sight is the notice that somebody has come or gone.
func (s *TopicServer) sight(to *subscriber, op abstract.TopicOp, topic string, who message.Raw) abstract.Frame {
	frame, _ := to.conn.encode(&message.TopicRequest{
		Header: message.ID(s.ep.newID()), Op: op, Topic: topic, Message: who, More: &message.TopicExtras{Sub: to.sub.Tag},
	})
	frame.Free = nil // it waits in a lane
	return frame     // without bytes when it could not be encoded, which encode has logged
}

// announce tells those who watch a topic that somebody has come or gone. It is called
// with the index's lock held.
func (s *TopicServer) announce(f *feed, who *subscriber, op abstract.TopicOp) {
	if !f.settings.Presence || who.legacy {
		return
	}
	text, err := message.Encode(who.presence())
	if err != nil {
		return
	}
	subs, _ := s.topics.Publish(f.name)
	var told []*conn
	for _, sub := range s.topics.Others(slices.Clone(subs), f.name) {
		to := sub.Lane.(*subscriber)
		if to.sights == nil || to == who || !f.admits(to.conn) {
			continue
		}
		if to.sights.Queue(s.sight(to, op, f.name, text)) == nil {
			told = append(told, to.conn)
		}
	}
	if len(told) > 0 {
		go flushAll(told) // not under the lock
	}
}
