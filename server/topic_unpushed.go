package server

import (
	"context"
	"slices"

	"trefoil/abstract"
)

// An append to the log of a durable topic can end without anybody knowing whether it was
// done. If it was, the message has its place in the topic, and was pushed to nobody. That
// is noticed when the log turns out to be further than what was pushed: then the topic's
// subscribers read on in the log.

// find looks how far the log of a durable topic is, once. It is called with the topic's
// order held.
func (s *TopicServer) find(f *feed, log abstract.Log) error {
	if f.known {
		return nil
	}
	_, last, err := log.Bounds(context.Background())
	if err == nil {
		s.catchOn(f, last)
	}
	return err
}

// fill notes how far a topic is, and has its subscribers catch up with what they were not
// given before that. It is called with the topic's order and the index's lock held.
func (s *TopicServer) fill(f *feed, last uint64) {
	if f.settings.Durable && f.known && last > f.last {
		subs, _ := s.topics.Publish(f.name)
		for _, sub := range s.topics.Others(slices.Clone(subs), f.name) {
			to := sub.Lane.(*subscriber)
			if _, behind := to.behind[f]; !behind && to.group == nil && to.consumer == nil {
				s.catchUp(to, stretch{feed: f, log: f.log, next: f.last + 1})
			}
		}
	}
	f.known, f.last = true, max(f.last, last)
}
