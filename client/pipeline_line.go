package client

import (
	"slices"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/business/requestor"
	"trefoil/concrete/message"
)

// line sends messages one behind the other without waiting for answers, and in their order
// also when the connection is lost in between: what has not left is sent on the next one
// before what comes later. What may have left is not sent again.
type line struct {
	topics *topics
	lazy   bool // flush writes, and not put

	order sync.Mutex // held while messages are queued for a session; comes before mu
	next  uint64     // number of a message; behind order

	mu      sync.Mutex
	session *session // for which what flies was queued
	flying  int
	landed  sync.Cond // flying is 0
	waiting []*piped  // what has to wait for a session, in order
	busy    bool      // somebody sends what waits
}

func newLine(t *topics) *line {
	l := &line{topics: t}
	l.landed.L = &l.mu
	return l
}

// piped is one message of a line.
type piped struct {
	line     *line
	number   uint64
	req      message.TopicRequest
	deadline time.Time
	pending  requestor.Pending
	told     func(Receipt, error) // is called once, with no lock of the line held
}

var _ requestor.Waiter = (*piped)(nil)

// put sends a message, or lets it wait for a session.
func (l *line) put(m *piped) {
	m.line = l
	l.order.Lock()
	l.next++
	m.number = l.next
	s := l.way(m)
	if s != nil {
		m.send(s)
	}
	l.order.Unlock()
	if s != nil && !l.lazy {
		s.flushLater()
	}
}

// way returns the session that a message can be queued for behind all others; nil: it
// waits.
func (l *line) way(m *piped) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.topics.conn.current.Load()
	if s == nil || l.busy || l.flying > 0 && s != l.session {
		l.wait(m)
		return nil
	}
	l.session = s
	l.flying++
	return s
}

// wait puts a message where its number says. It is called with the lock held.
func (l *line) wait(m *piped) {
	i, _ := slices.BinarySearchFunc(l.waiting, m.number, func(w *piped, n uint64) int {
		if w.number < n {
			return -1
		}
		return 1
	})
	l.waiting = slices.Insert(l.waiting, i, m)
	if !l.busy {
		l.busy = true
		if !l.topics.conn.tasks.run(l.resend) {
			go l.resend() // after Close: they end at once
		}
	}
}

// flush writes what a lazy line has queued.
func (l *line) flush() {
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	if s != nil {
		s.flushSoon()
	}
}

func (m *piped) send(s *session) {
	if s.store(&m.pending, m.deadline, abstract.RspTopic, m) {
		m.req.Header = message.ID(m.pending.ID())
		s.enqueue(&m.req, &m.pending)
	}
}

func (m *piped) what() string { return "publish " + m.req.Topic }

// Ended takes the end of one attempt.
func (m *piped) Ended(rsp abstract.BaseMessage, err error) {
	conn := m.line.topics.conn
	again := false
	if err != nil {
		e := asError(err)
		again = e.Code == abstract.Disconnected && e.Sent == abstract.SentNo && conn.ctx.Err() == nil && time.Now().Before(m.deadline)
		err = decorate(e, m.what(), 1, conn.addr)
	}
	m.line.land(m, again)
	if again {
		return
	}
	var got Receipt
	if r, ok := rsp.(*message.TopicResponse); ok && r.Code != abstract.OK {
		err = refused(m.what(), r.Code, r.Message, conn.addr)
	} else if ok {
		got = Receipt{Offset: r.Offset, Subscribers: r.Subscribers, Duplicate: r.Duplicate, Due: r.Due, Scheduled: r.Scheduled}
	}
	m.told(got, err)
}

// land counts a message as one that does not fly any more, and lets it wait again if it
// has not left.
func (l *line) land(m *piped, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flying--; l.flying == 0 {
		l.landed.Broadcast()
	}
	if again {
		req := message.TopicRequest{Op: m.req.Op, Topic: m.req.Topic, Message: m.req.Message, Meta: m.req.Meta, More: m.req.More} // its header may be being written
		l.wait(&piped{line: l, number: m.number, req: req, deadline: m.deadline, told: m.told})
	}
}

// leavingPause is how long what waits is kept back from a session that has just not taken
// it, and is about to end.
const leavingPause = 5 * time.Millisecond

// resend sends what waits, until nothing does.
func (l *line) resend() {
	conn := l.topics.conn
	var last *session
	for first := l.first(); first != nil; first = l.first() {
		s, err := conn.sessionBefore(conn.ctx, first.deadline)
		switch {
		case err != nil:
			l.giveUp(first, err)
		case s == last:
			select {
			case <-s.Done():
			case <-conn.ctx.Done():
			case <-time.After(leavingPause):
			}
			last = nil
		default:
			l.sendAll(s)
			last = s
		}
	}
}

// first is the first message that waits. When there is none, put sends again.
func (l *line) first() *piped {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.busy = false
		return nil
	}
	return l.waiting[0]
}

// giveUp ends a message that could not be sent in time.
func (l *line) giveUp(m *piped, why error) {
	l.mu.Lock()
	l.waiting = slices.DeleteFunc(l.waiting, func(w *piped) bool { return w == m })
	l.mu.Unlock()
	e := decorate(asError(why), m.what(), 0, l.topics.conn.addr)
	e.Sent = abstract.SentNo
	m.told(Receipt{}, e)
}

// sendAll sends everything that waits, once nothing flies on another session.
func (l *line) sendAll(s *session) {
	l.order.Lock()
	defer l.order.Unlock()
	l.mu.Lock()
	for l.flying > 0 && l.session != s {
		l.landed.Wait()
	}
	all := l.waiting
	l.session, l.waiting = s, nil
	l.flying += len(all)
	l.mu.Unlock()
	for _, m := range all {
		m.send(s)
	}
	s.flushSoon()
}
