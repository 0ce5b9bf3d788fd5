package link

import (
	"context"
	"io"
	"sync"
	"time"

	"trefoil/abstract"
)

// maxBatch bounds what the Receiver gets at once, and so the wait for the first answer.
const maxBatch = 512

type messages struct{ list []abstract.BaseMessage }

var messageLists = sync.Pool{New: func() any { return new(messages) }}

// Receive takes received bytes, which it copies. It never blocks and calls no code
// of the user: a worker does, which exists while there is work. More than
// MaxInbound waiting bytes close the connection. Calls come one at a time.
func (c *Conn) Receive(p []byte) {
	start, fits := c.in.put(p, c.cfg.MaxInbound)
	if !fits {
		c.Close(errInboundFull(c.cfg.MaxInbound))
		return
	}
	if start {
		go c.work()
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
		go c.work()
	}
}

// work delivers until there is nothing left to deliver. There is one at a time.
func (c *Conn) work() {
	list := messageLists.Get().(*messages)
	defer messageLists.Put(list)
	for {
		t, chunk, eof := c.in.next()
		switch t {
		case taskNone:
			return
		case taskBytes:
			if !c.failed {
				c.buf.adopt(chunk)
			}
			c.drain(list)
		case taskEOF:
			c.peerEnded(eof)
		case taskClose:
			c.finish()
			return
		}
	}
}

// peerEnded closes after the peer's end. A peer that only closed its half still
// gets the answers that are queued.
func (c *Conn) peerEnded(err error) {
	if err == io.EOF && c.out.busy() {
		ctx, cancel := context.WithTimeout(context.Background(), rejectFor)
		defer cancel()
		c.Shutdown(ctx, err)
	}
	c.Close(err)
}

// drain delivers the complete frames in the buffer, and flushes what the Receiver
// queued while it took them.
func (c *Conn) drain(list *messages) {
	defer c.recovered()
	took := false
	for !c.failed {
		before := c.buf.Len()
		err := c.decode(list)
		n := len(list.list)
		if n > 0 {
			took = true
			if crowded := n > 1; crowded != c.crowded.Load() {
				c.crowded.Store(crowded)
			}
			c.deliver(list)
			c.Flush()
		}
		c.in.release(before - c.buf.Len())
		if err != nil {
			c.reject(err)
			return
		}
		if n < maxBatch {
			break
		}
	}
	c.note(took)
}

// decode fills list with at most maxBatch messages.
func (c *Conn) decode(list *messages) error {
	list.list = list.list[:0]
	for c.buf.Len() > 0 && len(list.list) < maxBatch {
		m, ok, err := c.cfg.Protocol.Decode(&c.buf)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		list.list = append(list.list, m)
	}
	return nil
}

func (c *Conn) deliver(list *messages) {
	defer clear(list.list) // the list outlives the messages
	if c.recv != nil {
		c.recv.OnMessages(list.list)
	}
}

// note remembers since when an incomplete frame waits.
func (c *Conn) note(took bool) {
	switch {
	case c.buf.Len() == 0:
		if c.stalled.Load() != 0 {
			c.stalled.Store(0)
		}
	case took || c.stalled.Load() == 0:
		c.stalled.Store(max(int64(time.Since(c.born)), 1))
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
func (c *Conn) recovered() {
	if v := recover(); v != nil {
		c.fail()
		c.panicked(v)
	}
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

// Read starts the connection and receives from src until it ends. In Direct mode
// it calls the Receiver itself, else it stops reading while more than half of
// MaxInbound waits, so that the peer is held up and not cut off.
func (c *Conn) Read(src Source) {
	if c.cfg.Direct {
		c.readDirect(src)
		return
	}
	c.Start()
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
	c.direct = true
	if c.out.uncork() {
		go c.write(newBatch())
	}
	err := lost("read", c.directLoop(src))
	c.in.set(func(in *inbound) { in.eof = err })
	c.peerEnded(err)
	c.finish()
}

func (c *Conn) directLoop(src Source) error {
	list := messageLists.Get().(*messages)
	defer messageLists.Put(list)
	for {
		p, err := src.Next()
		if len(p) > 0 && !c.failed && !c.lingers.Load() {
			if c.buf.Len()+len(p) > c.cfg.MaxInbound {
				return errInboundFull(c.cfg.MaxInbound)
			}
			c.buf.Feed(p)
			c.drain(list)
		}
		if err != nil {
			return err
		}
	}
}
