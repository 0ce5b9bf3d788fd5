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

// errand is a message, or the end of the connection, which comes last.
type errand struct {
	m    abstract.BaseMessage // nil: the end
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
	c := t.conn
	if t.errand || !waits && c.errands.pending.Load() == 0 {
		return false
	}
	size := errandCost + sizeOf(m)
	c.errands.mu.Lock()
	full := len(c.errands.waiting) >= maxErrands || len(c.errands.waiting) > 0 && c.errands.bytes+size > c.ep.cfg.maxInbound
	c.errands.mu.Unlock()
	if full {
		c.refuse(m, abstract.Errorf(abstract.Overloaded, "%d requests of this connection, or %d bytes, wait for the store; wait for answers before sending more", maxErrands, c.ep.cfg.maxInbound))
		return true
	}
	c.send(errand{m, size})
	return true
}

// send queues an errand, and sees to it that somebody does it.
func (c *conn) send(e errand) {
	c.ep.errands.Add(1)
	c.errands.mu.Lock()
	c.errands.waiting = append(c.errands.waiting, e)
	c.errands.bytes += e.size
	c.errands.mu.Unlock()
	if c.errands.pending.Add(1) == 1 {
		go c.doErrands()
	}
}

// doErrands does what waits, until nothing does.
func (c *conn) doErrands() {
	for {
		c.errands.mu.Lock()
		e := c.errands.waiting[0]
		c.errands.waiting[0] = errand{}
		if c.errands.waiting = c.errands.waiting[1:]; len(c.errands.waiting) == 0 {
			c.errands.waiting = nil
		}
		c.errands.bytes -= e.size
		c.errands.mu.Unlock()
		c.doErrand(e.m)
		c.ep.errands.Done()
		if c.errands.pending.Add(-1) == 0 {
			return
		}
	}
}

// doErrand handles one message on a turn of its own.
func (c *conn) doErrand(m abstract.BaseMessage) {
	if m == nil {
		t := newTurn(c, nil)
		c.ep.forget(t)
		t.end()
		return
	}
	t := newTurn(c, []abstract.BaseMessage{m})
	t.next, t.errand = 1, true
	if err := c.permits(m); err != nil { // the permissions may have changed meanwhile
		c.refuse(m, err)
	} else {
		t.dispatch(m)
	}
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

// forget removes every trace of a connection that is gone, after its last errand.
func (t *turn) forget() {
	if t.conn.errands.pending.Load() == 0 && t.conn.ep.instant {
		t.conn.ep.forget(t)
		return
	}
	t.conn.send(errand{})
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
