package server

import (
	"slices"

	"trefoil/abstract"
	"trefoil/business/topic"
)

// lanePolicy is what the queue of a subscriber does when it is full. Who is disconnected, or
// has publishers wait, never finds it so.
func lanePolicy(slow abstract.SlowPolicy) abstract.Policy {
	if slow == abstract.SlowDropNewest || slow == abstract.SlowDisconnect {
		return abstract.DropNewest
	}
	return abstract.DropOldest
}

// takes reports whether a subscriber gets what is published, by the policy that its topic
// has now. Who does not keep up with one that disconnects such ones is gone after it. It is
// called with the index's lock held, as what follows.
func (s *TopicServer) takes(to *subscriber, frame *abstract.Frame) bool {
	switch to.slow {
	case abstract.SlowDropNewest:
		return !s.refuses(to, frame)
	case abstract.SlowDisconnect:
		need := len(frame.Bytes)
		if to.dropped > 0 {
			need += extended
		}
		if to.Room() < need {
			s.expel(to)
			return false
		}
	}
	s.tellDropped(to) // of what it lost while the policy was another one
	return true
}

// policeChanged makes changes of policies hold at once.
func (s *TopicServer) policeChanged(change abstract.Change) {
	for name := range topic.Names(change) {
		f := s.feeds[name]
		if f == nil {
			continue
		}
		slow := f.settings.Slow
		if now, err := s.feedOf(name); err == nil && now == f && f.settings.Slow != slow {
			s.police(f)
		}
	}
}

// police has a topic's policy hold for the subscriptions to it that there are: what waits
// for them stays, and what is published next finds the new one. One to many topics has a
// policy of its own.
func (s *TopicServer) police(f *feed) {
	slow := f.settings.Slow
	subs, _ := s.topics.Publish(f.name)
	for _, sub := range s.topics.Others(slices.Clone(subs), f.name) {
		to := sub.Lane.(*subscriber)
		if sub.Filter == f.name && !to.legacy && to.group == nil && to.consumer == nil {
			to.slow = slow
			to.SetPolicy(lanePolicy(slow))
		}
	}
	for k, g := range s.groups {
		if k.filter == f.name {
			g.newest = slow == abstract.SlowDropNewest
		}
	}
	if f.lossless != nil { // publishers go on, and look again
		close(f.lossless)
		f.lossless = nil
	}
}
