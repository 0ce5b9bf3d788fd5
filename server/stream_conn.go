package server

import (
	"runtime"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/business/stream"
	"trefoil/concrete/message"
)

// connStreams is the streams of one connection: those that its peer has opened, and
// those that a broker passes on to it.
type connStreams struct {
	set     atomic.Pointer[stream.Set] // nil until there is one
	serving atomic.Int64               // handlers of streams that the peer has opened

	flushing atomic.Bool // somebody is about to write what they have queued
}

var _ stream.Wire = (*conn)(nil)

// all returns the set, which is made when there is none.
func (s *connStreams) all(cfg *config) *stream.Set {
	if set := s.set.Load(); set != nil {
		return set
	}
	s.set.CompareAndSwap(nil, stream.NewSet(cfg.maxFrame, cfg.maxQueued, stream.NewBudget(int64(cfg.maxInbound))))
	return s.set.Load()
}

// cancel takes a CANCEL. It returns false when that is about no stream.
func (s *connStreams) cancel(id string) bool {
	set := s.set.Load()
	return set != nil && set.Cancel(id)
}

// lost ends the streams of a connection that is gone.
func (s *connStreams) lost() {
	if set := s.set.Load(); set != nil {
		set.CloseAll(errCallerGone())
	}
}

// carryStreams hands the messages of streams to these.
func (ep *endpoint) carryStreams() {
	dispatch.On(ep.dispatch, abstract.StreamData, func(t *turn, m *message.StreamMessage) { t.conn.carry(m) })
	dispatch.On(ep.dispatch, abstract.StreamCredit, func(t *turn, m *message.CreditNotice) { t.conn.carry(m) })
	dispatch.On(ep.dispatch, abstract.StreamEnd, func(t *turn, m *message.EndNotice) { t.conn.carry(m) })
	dispatch.On(ep.dispatch, abstract.RspUnsupported, func(t *turn, m *message.Unsupported) { // of a provider
		t.conn.carry(&message.EndNotice{Header: message.ID(m.ID()), Code: abstract.Unsupported, Message: "the provider knows no streams"})
	})
}

// carry hands a message to its stream. One that is over by now needs nothing; a peer that
// goes on and on about such is closed.
func (c *conn) carry(m abstract.BaseMessage) {
	if _, err := c.streams.all(&c.ep.cfg).Take(m); err != nil && !c.borrowed() {
		c.refused = true // what follows is not looked at
		c.leave(err)
	}
}

// borrowed says whether somebody else reads the connection, for others than us, too.
func (c *conn) borrowed() bool {
	_, ok := c.BaseConnection.(*borrowed)
	return ok
}

// spoilStream ends a stream that misses a message: m must not be taken.
func (c *conn) spoilStream(m abstract.BaseMessage, why error) {
	if set := c.streams.set.Load(); set != nil {
		set.Spoil(m.ID(), why)
	}
}

// refuseStream answers a request that cannot be served.
func (c *conn) refuseStream(m *message.StreamRequest, why error) {
	end := &message.EndNotice{Header: message.ID(m.ID()), Code: abstract.CodeOf(why), Message: publicText(why)}
	if e, ok := asError(why); ok {
		end.Details = e.Details
	}
	c.reply(end)
}

// SendStream sends a message of a stream. How much of streams waits to be written is
// bounded, so a queue without room has a peer that lets answers pile up.
func (c *conn) SendStream(m abstract.BaseMessage, written func()) error {
	frame, err := c.encode(m)
	if err != nil {
		return err
	}
	if written == nil {
		c.queue(frame, m.Type())
		c.Flush()
		return nil
	}
	free := frame.Free
	frame.Free = func(b []byte) {
		free(b)
		written()
	}
	if err := c.Queue(frame); err != nil {
		return err
	}
	c.flushStreams()
	return nil
}

// flushStreams writes what streams have queued. Where many of them send, the first yields
// once to let the others queue, or each would write its own messages as soon as the socket
// keeps pace with them.
func (c *conn) flushStreams() {
	if !c.streams.all(&c.ep.cfg).Crowded() {
		c.Flush()
		return
	}
	if !c.streams.flushing.CompareAndSwap(false, true) {
		return // somebody else will find what we have queued
	}
	runtime.Gosched()
	c.streams.flushing.Store(false)
	c.Flush()
}
