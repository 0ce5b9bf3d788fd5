package server

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// A message for later is appended to a log beside that of its topic before its publish is
// answered, and from there to the topic when it is due. Between the two the process can
// die: then the message is appended again, under the same id, and is a duplicate.

const (
	// laterSuffix makes the name of that log: no epoch holds a '+'.
	laterSuffix = "+later"
	// longestDelay bounds how far ahead a message can be published.
	longestDelay = 366 * 24 * time.Hour
	// leastDedup is for how long a durable topic knows ids at least, those of the broker's
	// own included: a process that was killed is there again by then.
	leastDedup = 2 * time.Minute
)

// The ids that the broker gives messages itself, and that of a dead letter that is tried
// again. They count also on topics that look at no other ids.
const (
	laterID = "later:"
	deadID  = "dead:"
	retryID = "retry:"
)

// dedupOf is for how long the log of a topic knows ids.
func dedupOf(settings *abstract.TopicSettings) time.Duration {
	if settings.Durable {
		return max(settings.Dedup, leastDedup)
	}
	return settings.Dedup
}

// countedID is the id of a message for the log of its durable topic: that looks at all it
// is given, for those of the broker's own.
func countedID(m *message.TopicRequest, settings *abstract.TopicSettings) string {
	id := idOf(m)
	if settings.Dedup == 0 && !strings.HasPrefix(id, retryID) {
		return ""
	}
	return id
}

// idOf is the id that its publisher gave a message.
func idOf(m *message.TopicRequest) string {
	if m.More == nil {
		return ""
	}
	return m.More.MsgID
}

// forLater reports whether a message is to be delivered later.
func forLater(m *message.TopicRequest) bool {
	return m.More != nil && (m.More.Delay > 0 || !m.More.At.IsZero())
}

// checkLater says why a message cannot be published later.
func (f *feed) checkLater(x *message.TopicExtras, settings *abstract.TopicSettings) error {
	if strings.HasPrefix(x.MsgID, laterID) || strings.HasPrefix(x.MsgID, deadID) {
		return abstract.Errorf(abstract.InvalidParams, "ids that begin with %s or %s are the broker's own; take another msg_id", laterID, deadID)
	}
	ahead := x.Delay
	if !x.At.IsZero() {
		ahead = time.Until(x.At)
	}
	switch {
	case x.Delay <= 0 && x.At.IsZero():
		return nil
	case !settings.Durable:
		return abstract.Errorf(abstract.Unsupported, "a message for later would be lost with this broker's process, as topic %q is not durable; publish it when it is due, or create the topic as a durable one", f.name)
	case x.Delay > 0 && !x.At.IsZero():
		return abstract.Errorf(abstract.InvalidParams, "a message is published after a delay or at a time; leave out delay_ms or at_ms")
	case ahead > longestDelay:
		return abstract.Errorf(abstract.InvalidParams, "a message can be published %d days ahead at most", longestDelay/(24*time.Hour))
	}
	return nil
}

// dueOf is when a message is to be delivered that was taken at a time.
func dueOf(x *message.TopicExtras, taken time.Time) time.Time {
	if x.At.IsZero() {
		return taken.Add(x.Delay)
	}
	return x.At
}

// postpone keeps those of a publisher's messages that are not due yet, and ends them.
func (s *TopicServer) postpone(f *feed, list []*commit) {
	now := time.Now()
	var group []*commit
	for _, c := range list {
		if !c.ended() && forLater(c.m) && dueOf(c.m.More, now).After(now) {
			group = append(group, c)
		}
	}
	if len(group) == 0 {
		return
	}
	a, err := &f.later, s.openAgenda(f)
	n := 0
	for _, c := range group {
		failed := err
		if failed == nil {
			failed = s.reserve(f, len(c.m.Frame()))
		}
		if failed != nil {
			c.end(failed)
			continue
		}
		group[n] = c
		n++
	}
	group = group[:n]
	if n == 0 {
		return
	}
	appendGroup(a.log, group)
	for _, c := range group {
		size := len(c.m.Frame())
		switch {
		case c.err != nil:
			s.uncount(a, size)
		case c.rsp.Duplicate:
			if s.reenter(f, c.rsp.Offset, size) {
				c.rsp.Scheduled = f.scheduledID(c.rsp.Offset)
			}
		default:
			c.rsp.Due, c.rsp.Scheduled = dueOf(c.m.More, now), f.scheduledID(c.rsp.Offset)
			s.attend(f, a.enter(at(c.rsp.Due, c.rsp.Offset, size)))
		}
		c.rsp.Offset = 0 // it has none in its topic yet
		c.end(c.err)
	}
}

// reenter sees to it that a message which was in the log already waits, and reports whether
// it does: whether the first one was kept nobody may have known. One that is just being
// published is a duplicate when it comes again. size is what the caller has reserved.
func (s *TopicServer) reenter(f *feed, offset uint64, size int) (waits bool) {
	a := &f.later
	defer s.uncount(a, size)
	if a.holds(offset) {
		return true
	}
	entries, err := a.log.Read(context.Background(), offset, 1, 1)
	if err != nil || len(entries) == 0 || entries[0].Offset != offset { // it is over
		return false
	}
	found := at(s.dueOfKept(&entries[0]), offset, len(entries[0].Data))
	s.countFound(a, appointments{found})
	s.attend(f, a.enter(found))
	return true
}

// publishDue publishes messages that are due as if their publishers did it now, in order.
// It returns those whose time is over, published now, or before, or not there any more, and
// those that are left: what is too much at a time, and, beside an error, what is to be
// tried again.
func (s *TopicServer) publishDue(f *feed, list []appointment) (over, left []appointment, err error) {
	var group []*commit // nil: it is over
	for size := 0; len(group) < len(list) && size < commitGroupSize; {
		ap := list[len(group)]
		entries, err := f.later.log.Read(context.Background(), ap.offset, 1, 1)
		if err != nil {
			return nil, list, err
		}
		var c *commit
		if len(entries) > 0 && entries[0].Offset == ap.offset {
			c = s.commitOf(f, &entries[0])
			size += len(entries[0].Data)
		}
		group = append(group, c)
	}
	s.commit(f, slices.DeleteFunc(slices.Clone(group), func(c *commit) bool { return c == nil }))
	for i, c := range group {
		ap := list[i]
		if failed := s.outcome(f, ap, c); failed != nil {
			ap.tried = ap.tried || abstract.CodeOf(failed) == abstract.UnknownFate
			left, err = append(left, ap), cmp.Or(err, failed)
			continue
		}
		over = append(over, ap)
	}
	return over, append(left, list[len(group):]...), err
}

// outcome waits for a message that is being published, and returns why it is to be tried
// again.
func (s *TopicServer) outcome(f *feed, ap appointment, c *commit) error {
	if c == nil {
		return nil
	}
	if <-c.done; c.err != nil && hopeless(c.err) {
		s.ep.logs.topic.Error("a message for later is not taken by its topic any more, and is dropped", "topic", f.name, "offset", ap.offset, "err", c.err)
		return nil
	}
	return c.err
}

// hopeless says that trying again does not help.
func hopeless(err error) bool {
	code := abstract.CodeOf(err)
	return code == abstract.TooLarge || code == abstract.InvalidParams
}

// commitOf makes a message for later one that is published; nil when it cannot be read.
func (s *TopicServer) commitOf(f *feed, e *abstract.LogEntry) *commit {
	decoded, err := s.ep.protocol.DecodeFrame(e.Data)
	m, ok := decoded.(*message.TopicRequest)
	if err != nil || !ok {
		s.ep.logs.topic.Error("a message for later cannot be read, and is dropped", "topic", f.name, "offset", e.Offset, "err", err)
		return nil
	}
	c := newCommit(f, m)
	c.id = f.idOfKept(e)
	return c
}
