package server

import (
	"time"

	"trefoil/abstract"
	"trefoil/business/topic"
)

const (
	// groupFailures is how often members of a group may give a message back that is kept
	// nowhere else.
	groupFailures = abstract.DefaultMaxDeliver

	// A message rests when it is given back more than once: firstRest, and twice as long
	// each time, up to longRest. The first time another member may have it at once.
	firstRest = 10 * time.Millisecond
	longRest  = time.Second
)

// groupRest is how long a message rests at least that was given back so many times.
func groupRest(failed int) time.Duration {
	if failed <= 1 {
		return 0
	}
	return min(firstRest<<min(failed-2, 10), longRest)
}

// returned takes a message back that a member of a group could not deal with: it goes to
// others after a rest, at least as long as the member says. When it was given back too often
// it is dropped, and the member is told that it is lost. It is called with the index's lock
// held.
func (s *TopicServer) returned(to *subscriber, it *topic.Item, rest time.Duration) {
	g := to.group
	if it.Failed++; it.Failed >= groupFailures {
		s.dropFailed(to)
		return
	}
	if rest = max(min(rest, longestRest), groupRest(it.Failed)); rest == 0 {
		g.queue.Return(it)
		return
	}
	g.queue.Rest(it, time.Now().Add(rest))
	s.setAlarm(g)
}

// dropFailed counts a message that no member of a group could deal with.
func (s *TopicServer) dropFailed(to *subscriber) {
	g := to.group
	if g.failed++; g.failed == 1 { // the next ones are counted
		s.ep.logs.topic.Warn("a message was given back too often by a queue group, and is dropped", "topic", g.filter, "group", g.name, "peer", to.conn.name(), "times", groupFailures)
	}
	to.lose(1)
}

// setAlarm has what rests first in a group wait again when its time has come.
func (s *TopicServer) setAlarm(g *group) {
	n, next := g.queue.Resting()
	switch {
	case n == 0:
	case g.alarm == nil:
		g.alarm = time.AfterFunc(time.Until(next), func() { s.wakeUp(g) })
	default:
		g.alarm.Reset(time.Until(next))
	}
}

// wakeUp gives what has rested to the members of a group.
func (s *TopicServer) wakeUp(g *group) {
	s.index.Lock()
	defer s.index.Unlock()
	if s.groups[g.groupKey] != g {
		return // its members have gone
	}
	g.queue.Wake(time.Now())
	s.deal(g, flushAside)
	s.setAlarm(g)
}

// forget ends what a group without members still has to do.
func (g *group) forget() {
	if g.alarm != nil {
		g.alarm.Stop()
	}
}

func (g *group) info() groupInfo {
	resting, _ := g.queue.Resting()
	return groupInfo{g.name, g.queue.Len(), g.queue.Waiting(), resting, g.failed}
}
