package server

// WithTopicMemory bounds what topics that are not durable keep in memory, and, apart from
// that, what waits in queue groups: each so many bytes for all topics together; the
// default is 256 MiB. When topics keep more, the largest histories give up their oldest
// messages: who wanted to read on from there is told so. When groups have more, the
// group that gets one more loses its oldest, and is told how many.
func WithTopicMemory(bytes int64) Option {
	return func(c *config) { c.topicMemory = max(bytes, 1<<20) }
}

// makeRoom drops what waits longest in a group until n bytes more may wait in all groups
// together. It returns false when there is nothing left to drop: what others have waiting
// is not the group's to drop. It is called with the index's lock held, as what follows.
func (s *TopicServer) makeRoom(g *group, n int) bool {
	most := s.ep.cfg.topicMemory
	for s.grouped+int64(n) > most {
		if !g.queue.DropOldest() {
			return false
		}
		g.missed++
		s.count(g)
	}
	return true
}

// count notes how much a group has waiting, or in the hands of its members.
func (s *TopicServer) count(g *group) {
	now := int64(g.queue.Bytes())
	s.grouped += now - g.counted
	g.counted = now
}

// maxReads bounds how many catch-ups read from logs at the same time. They read when
// there is room, and hold nothing while they wait for it.
const maxReads = 64

// readSlots are those of all catch-ups.
type readSlots chan struct{}

// do runs fn in a slot.
func (r readSlots) do(fn func()) {
	r <- struct{}{}
	defer func() { <-r }()
	fn()
}
