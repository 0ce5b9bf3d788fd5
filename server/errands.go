package server

import (
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// errands are messages of one connection that wait: for a Store which waits for a
// disk or a network, or for room to answer them in. They are handled off the turn that they came in, one after the
// other and in the order in which they came, so that nothing else of the connection
// waits for the Store, and no other connection. What has to come behind them in
// order becomes an errand too.
type errands struct {
	pending atomic.Int32 // waiting or under way; above 0 the queue is being worked on

	mu      sync.Mutex
	waiting []errand
	bytes   int
}

// errand is a message, or something that a part does, or the end of the connection, which
// comes last.
type errand struct {
	m    abstract.BaseMessage
	do   func(*turn)
	size int
}

// What may wait for one connection. More is answered with Overloaded.
const (
	maxErrands = 16_384
	errandCost = 256 // bytes that one counts besides its data
)

// later makes an errand of a message, when it has to wait for the Store or to come
// behind one that does. The message is then dispatched again, on a turn of its own;
// there later says false, as it does when there is nothing to wait for.
func (t *turn) later(m abstract.BaseMessage, waits bool) bool {
	if t.errand || !waits && t.conn.errands.pending.Load() == 0 {
		return false
	}
	t.conn.put(&t.conn.errands, m)
	return true
}

// patiently is later for what may wait long, for other peers: a publish to a lossless
// topic. What else the connection asks of topics comes behind that, and nothing of other
// kinds.
func (t *turn) patiently(m abstract.BaseMessage, waits bool) bool {
	if t.errand || !waits && t.conn.patient.pending.Load() == 0 {
		return false
	}
	t.conn.put(&t.conn.patient, m)
	return true
}

// put makes an errand of a message, or refuses it when too many wait.
func (c *conn) put(q *errands, m abstract.BaseMessage) {
	size := errandCost + sizeOf(m)
	q.mu.Lock()
	full := len(q.waiting) >= maxErrands || len(q.waiting) > 0 && q.bytes+size > c.ep.cfg.maxInbound
	q.mu.Unlock()
	if full {
		c.refuse(m, abstract.Errorf(abstract.Overloaded, "%d requests of this connection, or %d bytes, wait to be handled; wait for answers before sending more", maxErrands, c.ep.cfg.maxInbound))
		return
	}
	c.send(q, errand{m: m, size: size})
}

// send queues an errand, and sees to it that somebody does it.
func (c *conn) send(q *errands, e errand) {
	c.ep.errands.Add(1)
	q.mu.Lock()
	q.waiting = append(q.waiting, e)
	q.bytes += e.size
	first := q.pending.Add(1) == 1 // with the lock: whoever takes it out counts it out
	q.mu.Unlock()
	if first {
		go c.doErrands(q)
	}
}

// doErrands does what waits, until nothing does.
func (c *conn) doErrands(q *errands) {
	for {
		q.mu.Lock()
		e := q.waiting[0]
		q.waiting[0] = errand{}
		if q.waiting = q.waiting[1:]; len(q.waiting) == 0 {
			q.waiting = nil
		}
		q.bytes -= e.size
		q.mu.Unlock()
		switch {
		case e.m != nil:
			c.doErrand(e.m, q == &c.patient)
		case e.do != nil:
			c.doOwn(e.do)
		case q == &c.patient:
			c.forgetBehind(&c.errands)
		default:
			c.forget()
		}
		c.ep.errands.Done()
		if q.pending.Add(-1) == 0 {
			return
		}
	}
}

// takeNext takes the message that is the next errand, when it fits; else nil. It is for
// who does the one before it, and does both together; not for who does a patient one.
func (c *conn) takeNext(fits func(abstract.BaseMessage) bool) abstract.BaseMessage {
	q := &c.errands
	q.mu.Lock()
	if len(q.waiting) == 0 {
		q.mu.Unlock()
		return nil
	}
	next := q.waiting[0]
	q.mu.Unlock()
	if next.m == nil || !fits(next.m) {
		return nil
	}
	q.mu.Lock()
	q.waiting[0] = errand{} // nobody else takes one
	q.waiting = q.waiting[1:]
	q.bytes -= next.size
	q.mu.Unlock()
	q.pending.Add(-1) // not the last: the one before it counts until it is done
	c.ep.errands.Done()
	return next.m
}

// doErrand handles one message on a turn of its own.
func (c *conn) doErrand(m abstract.BaseMessage, patient bool) {
	t := newTurn(c, []abstract.BaseMessage{m})
	t.next, t.errand, t.patient, t.now = 1, true, patient, time.Now()
	if err := c.permits(m); err != nil { // the permissions may have changed meanwhile
		c.refuse(m, err)
	} else {
		t.dispatch(m)
	}
	t.end()
	c.Flush()
}

// doOwn does what nobody has asked for, on a turn of its own.
func (c *conn) doOwn(do func(*turn)) {
	t := newTurn(c, nil)
	t.errand, t.now = true, time.Now()
	do(t)
	t.end()
	c.Flush()
}

// roomEvery is how often an errand looks whether there is room for its answer.
const roomEvery = 2 * time.Millisecond

// deliver queues the answer to an errand, when there is room: a peer that asks for
// more than it has read yet is answered as fast as it reads.
func (c *conn) deliver(frame abstract.Frame) {
	if abstract.CodeOf(c.Queue(frame)) != abstract.Overloaded {
		return
	}
	c.Flush()
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.Done():
			return
		}
		if abstract.CodeOf(c.Queue(frame)) != abstract.Overloaded {
			return
		}
	}
}

// forgetBehind removes every trace of a connection that is gone, after its last errand.
func (c *conn) forgetBehind(q *errands) {
	switch {
	case q.pending.Load() > 0, q == &c.errands && !c.ep.instant:
		c.send(q, errand{})
	case q == &c.patient:
		c.forgetBehind(&c.errands)
	default:
		c.forget()
	}
}

// forget removes every trace of a connection.
func (c *conn) forget() {
	t := newTurn(c, nil)
	c.ep.forget(t)
	t.end()
}

// sizeOf is about how much memory a message holds besides itself. What it says lies
// in its frame, which may be much larger than what has arrived.
func sizeOf(m abstract.BaseMessage) int {
	size := 0
	if f, ok := m.(interface{ Frame() []byte }); ok {
		size = len(f.Frame())
	}
	if m, ok := m.(*message.NodeRequest); ok {
		size += len(m.Ops) * errandCost
	}
	return size
}
