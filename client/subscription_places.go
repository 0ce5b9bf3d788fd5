package client

import (
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// places is how far a subscription to many topics is in each of them: to go on there when
// the connection was lost. A topic that is not in it has said nothing. It is used with the
// subscription's lock held.
type places struct {
	mark    string // of the broker that the subscription began at; empty: it cannot go on
	partial bool   // there may be more topics
	known   map[string]*position
}

// placesOf is what a subscription keeps; nil: it is to one topic, or shares what it gets
// with others.
func placesOf(topic string, a *subscribing) *places {
	if !wild(topic) || a.shares() {
		return nil
	}
	return &places{known: make(map[string]*position)}
}

// came notes pushes of one topic.
func (p *places) came(pushes []abstract.BaseMessage) {
	first, last := pushes[0].(*message.TopicRequest), pushes[len(pushes)-1].(*message.TopicRequest)
	if last.Offset == 0 { // the broker does not count
		return
	}
	if last.Offset < first.Offset || last.Offset-first.Offset < uint64(len(pushes)-1) { // of two incarnations
		for i := range pushes {
			p.came(pushes[i : i+1])
		}
		return
	}
	at := p.at(first.Topic)
	if at == nil {
		return
	}
	switch {
	case last.More != nil && last.More.Epoch != "": // it says which incarnation it is of
		if at.epoch != last.More.Epoch {
			at.epoch = strings.Clone(last.More.Epoch)
		}
	case first.Offset == 1 && first.More != nil: // or this does
		at.epoch = strings.Clone(first.More.Epoch)
	case first.Offset <= at.last:
		at.epoch = "" // of another one, whose beginning was dropped
	}
	at.last = last.Offset
}

// at is where the place in a topic is kept; nil: there is no room for it.
func (p *places) at(topic string) *position {
	if at := p.known[topic]; at != nil {
		return at
	}
	if len(p.known) == message.MaxTopicPlaces {
		p.partial = true
		return nil
	}
	at := new(position)
	p.known[strings.Clone(topic)] = at
	return at
}

// request asks to go on, in most bytes.
func (p *places) request(most int) *message.TopicResume {
	r := &message.TopicResume{Mark: p.mark, Partial: p.partial}
	if p.mark == "" {
		return r
	}
	room := min(message.MaxResumeBytes, most) - requestRoom
	for name, at := range p.known {
		place := message.TopicPlace{Topic: name, Epoch: at.epoch, Offset: at.last}
		if room -= place.Size(); room < 0 {
			r.Partial = true
			break
		}
		r.Places = append(r.Places, place)
	}
	return r
}

// requestRoom is what the request takes besides its places and what the subscription asks
// for, at most.
const requestRoom = 1024

// resumeRoom is how many bytes a request to go on may have.
func (s *Subscription) resumeRoom() int {
	session := s.conn.topics.session.Load()
	if session == nil {
		return 0
	}
	room := session.judge.MaxFrame() - 6*len(s.topic)
	for name, value := range s.asks.extras.Where {
		room -= 6 * (len(name) + len(value))
	}
	return room
}

// begun takes an answer, and returns the topics in which something is lost.
func (p *places) begun(r *message.TopicResume) (lost []string) {
	p.mark, p.partial = strings.Clone(r.Mark), r.Partial
	clear(p.known)
	for i := range r.Places {
		at := &r.Places[i]
		if at.Lost {
			lost = append(lost, at.Topic)
		}
		if at.Epoch != "" {
			p.known[strings.Clone(at.Topic)] = &position{strings.Clone(at.Epoch), at.Offset}
		}
	}
	return lost
}

// begunMany notes where a subscription to many topics begins, or goes on: after its answer
// and before its first push. again: it was lost.
func (s *Subscription) begunMany(rsp *message.TopicResponse, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.begun
	s.begun = true
	if rsp.Resume == nil { // a broker that keeps no places
		*s.places = *placesOf(s.topic, &s.asks)
	}
	var lost []string
	if rsp.Resume != nil {
		lost = s.places.begun(rsp.Resume)
	}
	if !was || !again {
		return
	}
	for _, topic := range lost {
		s.note(Gap{Topic: strings.Clone(topic), Unrecovered: true})
	}
	if rsp.Recovered != message.Yes {
		s.note(Gap{Topic: s.topic, Unrecovered: true})
	}
	s.wake()
}
