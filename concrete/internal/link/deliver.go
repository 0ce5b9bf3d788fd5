package link

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"trefoil/abstract"
)

// maxBatch bounds what the Receiver gets at once, and so the wait for the first answer.
const maxBatch = 512

// worker is one goroutine's turn at delivering. It has the turn until there is
// nothing left to deliver, or until somebody calls Yield while it waits for the
// Receiver: then another worker goes on where it stands.
type worker struct {
	list  []abstract.BaseMessage
	state atomic.Uint32 // of the turn
	// How far it is, for who goes on.
	taken int   // bytes of the messages in list
	err   error // what ended decoding after them
}

// The states of a worker's turn.
const (
	turnOwn      = iota // it works
	turnDelivers        // it waits for the Receiver, and may be passed over
	turnPassed          // another worker has its turn
)

var workers = sync.Pool{New: func() any { return new(worker) }}

func newWorker() *worker { return workers.Get().(*worker) }

func (w *worker) free() {
	w.state.Store(turnOwn)
	w.taken, w.err = 0, nil
	workers.Put(w)
}

// Receive takes received bytes, which it copies. It never blocks and calls no code
// of the user: a worker does, which exists while there is work. More than
// MaxInbound waiting bytes close the connection. Calls come one at a time.
func (c *Conn) Receive(p []byte) {
	c.received.Add(uint64(len(p)))
	start, fits := c.in.put(p, c.cfg.MaxInbound)
	if !fits {
		c.Close(errInboundFull(c.cfg.MaxInbound))
		return
	}
	if start {
		c.startWork()
	}
}

// startWork starts a worker.
func (c *Conn) startWork() {
	if c.cfg.Go == nil || !c.cfg.Go(c.runWork) {
		go c.runWork()
	}
}

// ReadEnded says that nothing more will be received: io.EOF when the peer closed,
// else what went wrong. Everything received before is delivered first.
func (c *Conn) ReadEnded(err error) {
	err = lost("read", err)
	start := c.in.set(func(in *inbound) {
		if in.eof == nil {
			in.eof = err
		}
	})
	if c.lingers.Load() { // the worker may be the one who waits for this
		c.Close(err)
	}
	if start {
		c.startWork()
	}
}

// work delivers until there is nothing left to deliver. There is one worker at a time.
func (c *Conn) work() { c.loop(newWorker()) }

func (c *Conn) loop(w *worker) {
	defer func() {
		c.delivering.CompareAndSwap(w, nil) // an idle connection keeps no worker, nor its list
		w.free()
	}()
	for {
		t, chunk, eof := c.in.next()
		switch t {
		case taskNone:
			if r, ok := c.wire.(Rester); ok {
				r.Rest()
			}
			return
		case taskBytes:
			if !c.failed {
				c.buf.adopt(chunk)
			}
			if !c.drain(w) {
				return
			}
		case taskEOF:
			c.peerEnded(eof)
		case taskClose:
			c.finish()
			return
		}
	}
}

// Yield gives the turn of the worker that waits for the Receiver to another one.
func (c *Conn) Yield() {
	w := c.delivering.Load()
	if w == nil {
		return
	}
	taken, err := w.taken, w.err
	if !w.state.CompareAndSwap(turnDelivers, turnPassed) {
		return
	}
	next := newWorker()
	next.taken, next.err = taken, err
	go func() {
		switch {
		case !c.resume(next):
			next.free()
		case c.src != nil:
			c.serve(next)
		default:
			c.loop(next)
		}
	}()
}

// peerEnded closes after the peer's end. A peer that only closed its half still
// gets the answers that are queued.
func (c *Conn) peerEnded(err error) {
	if err == io.EOF && c.out.busy() {
		ctx, cancel := context.WithTimeout(context.Background(), c.cfg.WriteTimeout) // as long as a peer may take to read
		defer cancel()
		c.Shutdown(ctx, err)
	}
	c.Close(err)
}

// drain delivers the complete frames in the buffer, and flushes what the Receiver
// queued while it took them. It returns false when the turn has been passed on.
func (c *Conn) drain(w *worker) (mine bool) {
	defer c.recovered(w, &mine)
	took := false
	for !c.failed {
		c.decode(w)
		if n := len(w.list); n > 0 {
			took = true
			if crowded := n > 1; crowded != c.crowded.Load() {
				c.crowded.Store(crowded)
			}
			if !c.deliver(w) {
				return false
			}
		}
		if !c.delivered(w) {
			break
		}
	}
	c.note(took)
	return true
}

// resume goes on after a delivery that was passed over.
func (c *Conn) resume(w *worker) (mine bool) {
	defer c.recovered(w, &mine)
	c.delivered(w)
	return c.drain(w)
}

// decode fills the worker's list with at most maxBatch messages.
func (c *Conn) decode(w *worker) {
	w.list, w.err = w.list[:0], nil
	before := c.buf.Len()
	for c.buf.Len() > 0 && len(w.list) < maxBatch {
		m, ok, err := c.cfg.Protocol.Decode(&c.buf)
		if err != nil || !ok {
			w.err = err
			break
		}
		w.list = append(w.list, m)
	}
	w.taken = before - c.buf.Len()
}

// deliver hands the list to the Receiver. It returns false when the turn was
// passed on meanwhile: nothing of the connection may then be touched.
func (c *Conn) deliver(w *worker) (mine bool) {
	defer clear(w.list) // it outlives the messages
	if c.recv == nil {
		return true
	}
	if c.direct && c.src == nil {
		c.recv.OnMessages(w.list)
		return true
	}
	w.state.Store(turnDelivers)
	c.delivering.Store(w)
	c.recv.OnMessages(w.list)
	return w.state.CompareAndSwap(turnDelivers, turnOwn)
}

// delivered does what follows a delivery, and returns whether there may be more
// to decode.
func (c *Conn) delivered(w *worker) (more bool) {
	if w.taken > 0 {
		c.Flush()
		if !c.direct {
			c.in.release(w.taken)
		}
	}
	if w.err != nil {
		c.reject(w.err)
		return false
	}
	return len(w.list) == maxBatch
}

// note remembers since when an incomplete frame waits.
func (c *Conn) note(took bool) {
	switch {
	case c.buf.Len() == 0:
		if c.stalled.Load() != 0 {
			c.stalled.Store(0)
		}
	case took || c.stalled.Load() == 0:
		c.stalled.Store(int64(now()))
	}
}

// reject ends a stream that cannot be trusted. What was right before it has been
// delivered, and its answers get a moment to leave.
func (c *Conn) reject(err error) {
	c.fail()
	if !c.stop(err) { // a Shutdown, or the end, is under way
		return
	}
	end := func() {
		ctx, cancel := context.WithTimeout(context.Background(), rejectFor)
		defer cancel()
		c.flushAndClose(ctx, err)
	}
	if c.direct {
		go end() // the reader goes on, and drops what it reads
		return
	}
	end()
}

// fail drops what was received and what will be.
func (c *Conn) fail() {
	c.failed = true
	c.stalled.Store(0)
	c.buf.drop()
	c.in.set(func(in *inbound) {
		in.deaf = true
		in.chunks, in.bytes = nil, 0
	})
}

// recovered ends the connection when the Receiver, or the protocol, panics.
func (c *Conn) recovered(w *worker, mine *bool) {
	v := recover()
	if v == nil {
		return
	}
	*mine = w.state.Swap(turnOwn) != turnPassed
	if *mine {
		c.fail()
	}
	c.panicked(v)
}

// finish tells the Receiver that the connection is gone.
func (c *Conn) finish() {
	c.buf.drop()
	c.stalled.Store(0)
	if c.recv != nil {
		c.callOnClose()
	}
	if c.onEnd != nil {
		c.onEnd(c)
	}
}

func (c *Conn) callOnClose() {
	defer func() {
		if v := recover(); v != nil {
			c.panicked(v)
		}
	}()
	c.recv.OnClose(c.Err())
}

// Source is where a reading goroutine gets its bytes from.
type Source interface {
	// Next blocks until bytes are there, and returns them; they live until the
	// next call. It returns io.EOF after the last, and ends when the Wire is closed.
	Next() ([]byte, error)
}

// Giver is a Source whose bytes may be kept, so that they need not be copied.
type Giver interface {
	// Give leaves what Next returned last to the caller, unless it is little beside the
	// memory that holds it.
	Give() bool
}

// feed takes over what src has just returned, or copies it.
func (c *Conn) feed(src Source, p []byte) {
	if g, ok := src.(Giver); ok && g.Give() {
		c.buf.adopt(p)
		return
	}
	c.buf.Feed(p)
}

// Read starts the connection and receives from src until it ends. In Direct mode
// it calls the Receiver itself, else it stops reading while more than half of
// MaxInbound waits, so that the peer is held up and not cut off.
func (c *Conn) Read(src Source) {
	c.Start()
	if c.direct {
		c.readDirect(src)
		return
	}
	for {
		p, err := src.Next()
		if len(p) > 0 {
			c.Receive(p)
		}
		if err != nil {
			c.ReadEnded(err)
			return
		}
		c.in.waitRoom(c.cfg.MaxInbound / 2)
	}
}

func (c *Conn) readDirect(src Source) {
	err := lost("read", c.directLoop(src))
	c.in.set(func(in *inbound) { in.eof = err })
	c.peerEnded(err)
	c.finish()
}

func (c *Conn) directLoop(src Source) error {
	w := newWorker()
	defer w.free()
	for {
		if _, err := c.directRead(src, w); err != nil {
			return err
		}
	}
}

// directRead reads once and delivers. It returns false for mine when the turn has
// been passed on.
func (c *Conn) directRead(src Source, w *worker) (mine bool, err error) {
	p, err := src.Next()
	if len(p) > 0 && !c.failed && !c.lingers.Load() {
		if c.buf.Len()+len(p) > c.cfg.MaxInbound {
			return true, errInboundFull(c.cfg.MaxInbound)
		}
		c.received.Add(uint64(len(p)))
		c.feed(src, p)
		if !c.drain(w) {
			return false, nil
		}
	}
	return true, err
}

// Serve starts the connection and receives from src until it ends, or until the
// Receiver has been passed over: then another goroutine goes on. It calls the
// Receiver itself, which saves a hand-over for each delivery, and costs the stack
// of a goroutine while the connection is idle.
func (c *Conn) Serve(src Source) {
	c.src = src
	c.Start()
	c.serve(newWorker())
}

// serve reads and delivers while w has the turn.
func (c *Conn) serve(w *worker) {
	defer func() {
		c.delivering.CompareAndSwap(w, nil)
		w.free()
	}()
	for {
		mine, err := c.directRead(c.src, w)
		if !mine {
			return
		}
		if err == nil {
			continue
		}
		err = lost("read", err)
		c.in.set(func(in *inbound) { in.eof = err })
		c.peerEnded(err)
		c.finish()
		return
	}
}
