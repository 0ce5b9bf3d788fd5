package server

import (
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/protect"
	"trefoil/business/router"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
)

// turn is the handling of one batch of a connection's messages. RPC handlers run
// inside it, one after the other on the transport's own goroutine, and their
// responses leave in one write: handing a call to another goroutine costs more
// than most calls do. A handler that holds the turn up is left alone with its
// call: the watchdog passes the rest of the turn to another goroutine, and the
// handler's method runs on the workers from then on.
type turn struct {
	conn    *conn
	now     time.Time              // when it began
	came    time.Time              // when the batch came: before that when it was passed on
	waiting []abstract.BaseMessage // the batch
	next    int                    // of waiting: the first that has not been handled
	touched []*conn                // whom something was queued for
	out     []byte                 // frames of responses, to be queued together
	outs    int                    // how many
	pushes  pushes                 // of the publishes that are being served
	told    message.TopicResponse  // what answers them
	answer  router.Answer          // of the handler that runs

	state  atomic.Uint32
	begun  atomic.Uint32       // handlers that have begun
	looked atomic.Bool         // the watchdog has looked at it: the turn takes its time
	req    *message.RpcRequest // what the handler serves that runs; for who passes the turn on
	ctx    *callContext        // its context; the same
	passed chan struct{}       // made when the turn is passed on, closed when the batch is handled

	broke   error  // the peer has used up its quota of bytes: the batch is refused
	errand  bool   // off the connection's own turn; see errands
	patient bool   // the same, of what waits for other peers
	watched bool   // the watchdog knows the turn; for its owner
	index   int    // where the turn stands in the watchdog's list; behind the watchdog's lock
	seen    uint32 // begun when the watchdog looked last; behind its lock
}

// The states of a turn.
const (
	turnOpen    = iota // messages are judged and handled; it cannot be passed on
	turnHandles        // an RPC handler runs
	turnPassed         // another turn has taken over
)

const (
	outBytes = 30 << 10 // so much of responses is gathered before it is queued
	outSlack = 64       // of a response, besides its result and its id
)

var turns = sync.Pool{New: func() any { return new(turn) }}

// newTurn begins the handling of a batch, which is copied.
func newTurn(c *conn, batch []abstract.BaseMessage) *turn {
	t := turns.Get().(*turn)
	t.conn = c
	t.waiting = append(t.waiting[:0], batch...)
	return t
}

// newErrandTurn begins the handling of what no connection waits for.
func newErrandTurn() *turn {
	t := newTurn(nil, nil)
	t.now, t.errand = time.Now(), true
	return t
}

// free gives the memory back. Nobody may know the turn any more.
func (t *turn) free() {
	clear(t.waiting)
	clear(t.touched)
	t.conn, t.next, t.touched = nil, 0, t.touched[:0]
	t.answer.Response, t.told = message.RpcResponse{}, message.TopicResponse{}
	t.out, t.outs, t.req, t.ctx, t.passed, t.watched, t.errand, t.patient, t.broke = nil, 0, nil, nil, nil, false, false, false, nil
	t.came = time.Time{}
	t.looked.Store(false)
	t.state.Store(turnOpen)
	turns.Put(t)
}

// run handles what waits. It returns false when the turn was passed on, and then
// somebody else ends it.
func (t *turn) run() bool {
	t.now = time.Now()
	if t.came.IsZero() {
		t.came = t.now
	}
	if t.conn.ep.cfg.guard != nil && t.broke == nil {
		t.broke = t.conn.afford(t.now)
	}
	trusted := false // the judge has seen a message of this batch; it has no say in calls, topics and services after it
	for t.next < len(t.waiting) {
		m := t.waiting[t.next]
		t.next++
		if trusted && m.Type().Legacy() {
			t.handle(m)
		} else {
			delivered, open := t.receive(m)
			if !open {
				break // it is being closed
			}
			trusted = delivered && m.Type().Legacy()
		}
		if t.state.Load() == turnPassed {
			t.conn.ep.watchdog.returned(t.req.Method)
			t.conn.cancellable.leave(t.req.ID(), t.ctx)
			return false
		}
	}
	return true
}

// end queues the responses, and flushes whoever something was queued for: outside
// every lock, and once however many messages there were. The connection's own
// queue is flushed by the transport.
func (t *turn) end() {
	if t.watched {
		t.conn.ep.watchdog.leave(t)
	}
	t.queueOut()
	for _, other := range t.touched {
		other.dirty.Store(false) // before the flush: who queues from here on flushes again
		other.Flush()
	}
	t.free()
}

// call runs a handler inside the turn, and gives back what it has taken of the caller's
// quota before the answer.
func (t *turn) call(r *router.RpcRouter, req *message.RpcRequest) {
	c := t.conn
	if !t.watched {
		t.watched = true
		c.ep.watchdog.join(t)
	}
	ctx := &callContext{Context: c.lifeOf(req), deadline: protect.Deadline(req.TimeoutMs, t.came), conn: c, meta: req.Meta}
	if t.looked.Load() && ctx.Err() != nil { // others of the batch have used up its time
		c.release(access.InFlight)
		c.refuse(req, abstract.Errorf(abstract.CodeOf(ctx.Err()), "the call's time was over before its turn came"))
		return
	}
	t.req, t.ctx = req, ctx
	t.begun.Add(1)
	t.state.Store(turnHandles)
	rsp := r.Call(ctx, req, &t.answer)
	ctx.finish()
	c.release(access.InFlight)
	mine := t.state.CompareAndSwap(turnHandles, turnOpen)
	switch {
	case c.unanswered(req):
	case mine:
		t.respond(rsp)
	default:
		c.reply(rsp) // the turn has gone on without us
		c.Flush()
	}
}

// respond adds a response to those that are queued together.
func (t *turn) respond(rsp *message.RpcResponse) {
	c := t.conn
	need := len(rsp.Result) + len(rsp.ID()) + outSlack
	if c.ep.protocol.Packs(need) && c.packing() != abstract.CompressNone {
		c.reply(rsp)
		return
	}
	if cap(t.out)-len(t.out) < need {
		t.queueOut()
		t.out = lv.Memory(max(c.outHint, need))
	}
	out, err := c.ep.protocol.Append(t.out, c.judge.Shape(rsp))
	if err == nil {
		err = c.judge.CheckSize(len(out) - len(t.out))
	}
	if err != nil {
		c.reply(rsp) // says so
		return
	}
	t.out = out
	t.outs++
	if len(out) >= outBytes {
		t.queueOut()
	}
}

// queueOut queues the gathered responses.
func (t *turn) queueOut() {
	if t.outs == 0 {
		return
	}
	t.conn.outHint = min(len(t.out)+len(t.out)/8, outBytes)
	t.conn.queue(abstract.Frame{Class: abstract.ClassResponse, Count: t.outs, Bytes: t.out, Free: lv.Recycle}, abstract.RspRPC)
	t.out, t.outs = nil, 0
}

// handOver gives the rest of a turn that was passed on to another goroutine.
func (t *turn) handOver() {
	c := t.conn
	if t.passed == nil {
		t.passed = make(chan struct{})
	}
	rest := newTurn(c, t.waiting[t.next:])
	rest.touched, rest.out, rest.outs, rest.passed, rest.broke = t.touched, t.out, t.outs, t.passed, t.broke
	rest.came = t.came
	rest.looked.Store(true)
	t.touched, t.out, t.outs = nil, nil, 0
	go rest.finish()
}

// finish handles what another turn has left, and lets the transport go on.
func (t *turn) finish() {
	if !t.run() {
		t.free() // passed on again: its handler has come back here, and the batch is with others
		return
	}
	c, passed := t.conn, t.passed
	t.end()
	c.Flush()
	c.Yield()
	close(passed)
}
