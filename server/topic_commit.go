package server

import (
	"context"
	"slices"
	"sync"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// What waits to be appended to the log of one durable topic, and how much of it goes
// there together. More is answered with Overloaded.
const (
	maxCommits      = 16_384
	maxCommitBytes  = 64 << 20
	maxCommitGroup  = 1000
	commitGroupSize = 4 << 20
)

// commits are messages that wait to be appended to the log of a durable topic. One
// goroutine at a time appends what has gathered, whoever published it: the disk is
// waited for once for all that came while it was waited for. There is none while nothing
// waits.
type commits struct {
	mu      sync.Mutex
	running bool
	waiting []*commit
	bytes   int
}

// commit is a message on its way into a log, and from there to the subscribers.
type commit struct {
	m    *message.TopicRequest
	feed *feed
	id   string // for the log's own look-out for duplicates

	// What became of it, once done is closed.
	rsp  message.TopicResponse
	err  error
	done chan struct{}
}

func newCommit(f *feed, m *message.TopicRequest) *commit {
	return &commit{m: m, feed: f, id: idOf(m), done: make(chan struct{})}
}

// end says what became of a message.
func (c *commit) end(err error) {
	c.err = err
	close(c.done)
}

// publishDurable serves a publish to a durable topic, and those to durable topics that
// wait behind it on the connection: what goes to the same topic is appended together. Each
// is answered as soon as it is on the disk and those before it are answered. It is called
// for an errand.
func (s *TopicServer) publishDurable(t *turn, f *feed, first *message.TopicRequest) {
	run := []*commit{s.admitted(t.conn, f, first)}
	for size := len(first.Frame()); !t.patient && len(run) < maxCommitGroup && size < commitGroupSize; {
		f, m := s.nextDurable(t.conn)
		if m == nil {
			break
		}
		size += len(m.Frame())
		if m, err := s.asMeant(t, m); err == nil {
			run = append(run, s.admitted(t.conn, f, m))
		} else {
			one := newCommit(f, m)
			one.end(err)
			run = append(run, one)
		}
	}
	for rest := run; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(c *commit) bool { return c.feed != rest[0].feed })
		if n < 0 {
			n = len(rest)
		}
		s.postpone(rest[0].feed, rest[:n])
		s.commit(rest[0].feed, rest[:n])
		rest = rest[n:]
	}
	for _, c := range run {
		<-c.done
		s.answerPublish(t.conn, c.m, &c.rsp, c.err)
	}
}

// nextDurable takes the publish to a durable topic that is the connection's next errand;
// nil when that is something else.
func (s *TopicServer) nextDurable(c *conn) (f *feed, m *message.TopicRequest) {
	taken := c.takeNext(func(next abstract.BaseMessage) bool {
		req, ok := next.(*message.TopicRequest)
		if !ok || !req.Op.Publishes() {
			return false
		}
		s.index.Lock()
		defer s.index.Unlock()
		var err error
		f, err = s.feedOf(req.Topic)
		return err == nil && f.settings.Durable
	})
	m, _ = taken.(*message.TopicRequest)
	return f, m
}

// admitted makes the commit of a publish; one that is refused has ended already.
func (s *TopicServer) admitted(c *conn, f *feed, m *message.TopicRequest) *commit {
	s.index.Lock()
	settings := f.settings
	s.index.Unlock()
	one := newCommit(f, m)
	one.id = countedID(m, &settings)
	err := c.permits(m)
	if err == nil {
		err = s.allowedOn(c, settings.Allow.Publish, "publish to", m.Topic)
	}
	if err == nil {
		err = f.check(m, &settings)
	}
	if err != nil {
		one.end(err)
	}
	return one
}

func (c *commit) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// commit puts messages of one publisher behind those that wait for the topic's log, and
// sees to it that somebody appends them. Those that have ended are passed over, and
// those that there is no room for end.
func (s *TopicServer) commit(f *feed, list []*commit) {
	q := &f.commits
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range list {
		if c.ended() {
			continue
		}
		size := len(c.m.Frame())
		if len(q.waiting) >= maxCommits || len(q.waiting) > 0 && q.bytes+size > maxCommitBytes {
			c.end(abstract.Errorf(abstract.Overloaded, "more is published to topic %q than its log takes; publish more slowly, or wait for the answers", f.name))
			continue
		}
		q.waiting = append(q.waiting, c)
		q.bytes += size
	}
	if !q.running && len(q.waiting) > 0 {
		q.running = true
		s.ep.errands.Go(func() { s.commitAll(f) })
	}
}

// take takes what goes into the log together. There is nobody to append from the time on
// when there is nothing.
func (q *commits) take() []*commit {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for ; n < min(len(q.waiting), maxCommitGroup); n++ {
		if size += len(q.waiting[n].m.Frame()); n > 0 && size > commitGroupSize {
			size -= len(q.waiting[n].m.Frame())
			break
		}
	}
	group := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.bytes -= size
	q.running = n > 0
	return group
}

// commitAll appends until nothing waits.
func (s *TopicServer) commitAll(f *feed) {
	for group := f.commits.take(); len(group) > 0; group = f.commits.take() {
		s.commitGroup(f, group)
	}
}

// commitGroup appends messages, gives those that are kept to the subscribers, and ends
// them all.
func (s *TopicServer) commitGroup(f *feed, group []*commit) {
	t := newErrandTurn()
	defer t.end()
	log, err := s.ready(f)
	if err != nil {
		for _, c := range group {
			c.end(err)
		}
		return
	}
	f.order.Lock()
	defer f.order.Unlock()
	if err := s.find(f, log); err != nil {
		for _, c := range group {
			c.end(err)
		}
		return
	}
	appendGroup(log, group)
	for len(group) > 0 {
		n := follows(group)
		reached, err := 0, group[0].err
		switch {
		case err != nil:
		case group[0].rsp.Duplicate:
			s.catchOn(f, group[0].rsp.Offset) // nobody may have known that it was kept
		default:
			reached, err = s.pushCommitted(t, f, group[:n])
		}
		for _, c := range group[:n] {
			c.rsp.Subscribers = reached
			c.end(err)
		}
		group = group[n:]
	}
}

// follows is how many commits, one at least, are pushed together: their offsets follow
// each other.
func follows(group []*commit) int {
	n := 1
	for n < len(group) {
		a, b := group[n-1], group[n]
		if a.err != nil || b.err != nil || a.rsp.Duplicate || b.rsp.Duplicate || b.rsp.Offset != a.rsp.Offset+1 {
			break
		}
		n++
	}
	return n
}

// pushCommitted gives messages to the subscribers. It is called with the topic's order
// held.
func (s *TopicServer) pushCommitted(t *turn, f *feed, group []*commit) (reached int, err error) {
	p := &t.pushes
	defer p.forget()
	run := make([]abstract.BaseMessage, len(group))
	for i, c := range group {
		run[i] = c.m
	}
	p.begin(f, run, s.ep.limits.Load().SubscriberQueue)
	p.number(group[0].rsp.Offset)
	s.pack(p)
	p.kept = true
	return s.push(t, f, p, group[len(group)-1].rsp.Offset)
}

// appendGroup appends messages, and notes of each where it stands or why it does not. What
// is too large is found by halves, so that it fails nobody else.
func appendGroup(log abstract.Log, group []*commit) {
	entries := make([]abstract.LogEntry, len(group))
	for i, c := range group {
		entries[i] = abstract.LogEntry{ID: c.id, Data: c.m.Frame()}
	}
	offsets, err := log.Append(context.Background(), entries)
	if abstract.CodeOf(err) == abstract.TooLarge && len(group) > 1 && !slices.ContainsFunc(offsets, func(o abstract.LogOffset) bool { return o.Offset > 0 }) {
		appendGroup(log, group[:len(group)/2])
		appendGroup(log, group[len(group)/2:])
		return
	}
	for i, c := range group {
		if i < len(offsets) && offsets[i].Offset > 0 {
			c.rsp.Offset, c.rsp.Duplicate = offsets[i].Offset, offsets[i].Duplicate
			continue
		}
		c.err = err
	}
}
