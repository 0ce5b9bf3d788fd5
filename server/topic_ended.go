package server

import (
	"math"
	"slices"

	"trefoil/business/topic"
)

// ended remembers the incarnations of topics that were removed last, for subscribers to
// many topics whose connection was lost meanwhile. It is used with the index's lock held.
type ended struct {
	list   []endedTopic // in the order of their ends
	before int64        // of what ended up to this revision nothing is known
}

// endedTopic is an incarnation that is no more.
type endedTopic struct {
	topic, epoch string
	last         uint64   // offset of its last message; math.MaxUint64: not known
	at           int64    // the revision that removed it
	who          []string // were let have its messages; empty: whoever
}

// maxEnded bounds how many are remembered.
const maxEnded = 1024

// add notes an end. An incarnation in which nothing was published is not worth noting.
func (e *ended) add(t endedTopic) {
	if t.last == 0 {
		return
	}
	if len(e.list) == maxEnded {
		e.before = e.list[0].at
		e.list = slices.Delete(e.list, 0, 1)
	}
	e.list = append(e.list, t)
}

// ends notes the end of a feed, or of a durable topic that has not been used.
func (s *TopicServer) ends(f *feed) {
	last := f.last
	if f.settings.Durable && !f.known {
		last = math.MaxUint64
	}
	s.ended.add(endedTopic{f.name, f.epoch, last, s.topics.Applied(), f.settings.Allow.Subscribe})
}

// endsUnused notes the ends of durable topics that were not used since the process began:
// what is in their logs is not known.
func (s *TopicServer) endsUnused(list []topic.Removed) {
	for _, r := range list {
		if f := s.feeds[r.Topic]; f == nil || f.epoch != r.Epoch {
			s.ended.add(endedTopic{topic: r.Topic, epoch: r.Epoch, last: math.MaxUint64, at: s.topics.Applied()})
		}
	}
}

// unseen returns the names of topics that a filter names, and that have ended since a
// revision with messages which the subscriber had not. known is how far it was, and now
// returns the epoch of the topic that has a name now.
func (e *ended) unseen(since int64, filter string, id string, known map[string]place, now func(name string) string) map[string]struct{} {
	names, seen := map[string]struct{}{}, map[string]struct{}{}
	for i := len(e.list) - 1; i >= 0 && e.list[i].at > since; i-- { // from the last one: who knew a later incarnation has had all of this one
		t := &e.list[i]
		if _, done := seen[t.topic]; done || !topic.Match(filter, t.topic) || len(t.who) > 0 && !named(t.who, id) {
			continue
		}
		switch at := known[t.topic]; {
		case at.epoch != "" && at.epoch == now(t.topic), at.epoch == t.epoch && at.offset >= t.last:
			seen[t.topic] = struct{}{}
		case at.epoch == t.epoch:
			seen[t.topic] = struct{}{}
			names[t.topic] = struct{}{}
		default:
			names[t.topic] = struct{}{}
		}
	}
	return names
}
