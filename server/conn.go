package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/peer"
	"trefoil/concrete/message"
)

// conn is a server's end of one connection: it judges what the peer says, hands
// the rest to the dispatcher and shapes what goes back. It is the connection's
// Receiver; sending is safe for concurrent use.
type conn struct {
	abstract.BaseConnection
	id     uint64 // never used twice
	ep     *endpoint
	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc

	mu    sync.Mutex // guards judge
	judge *peer.Peer

	calls   atomic.Int64 // running or waiting handlers
	dirty   atomic.Bool  // somebody has queued for us and is going to flush
	touched []*conn      // whom our messages queued something for; only used inside OnMessages and OnClose
	batch   []abstract.BaseMessage
}

var _ abstract.Receiver = (*conn)(nil)

func (c *conn) name() string { return c.RemoteAddr().String() }

// modern says whether the peer has said HELLO.
func (c *conn) modern() bool { return c.judge.Modern() }

// OnMessages judges, dispatches, and flushes whom the messages queued something for.
func (c *conn) OnMessages(batch []abstract.BaseMessage) {
	now := time.Now()
	ready := c.batch[:0]
	for _, m := range batch {
		c.mu.Lock()
		v := c.judge.Receive(m, now)
		c.mu.Unlock()
		if v.Deliver && m.Check() == nil {
			ready = append(ready, m)
			continue
		}
		// Answers keep their order: what came before is handled first.
		ready = c.handle(ready)
		switch {
		case v.Deliver:
			c.refuse(m, m.Check())
		case v.Reply != nil:
			c.reply(v.Reply)
		}
		if v.Close != nil {
			c.leave(v.Close)
			break
		}
	}
	c.batch = c.handle(ready)
	c.flushTouched()
}

// handle dispatches messages and returns their slice emptied.
func (c *conn) handle(ready []abstract.BaseMessage) []abstract.BaseMessage {
	if len(ready) == 0 {
		return ready
	}
	c.ep.dispatch.Dispatch(c, ready)
	clear(ready)
	return ready[:0]
}

// OnClose removes every trace of the connection.
func (c *conn) OnClose(err error) {
	c.cancel(&abstract.Error{Code: abstract.Disconnected, Op: "serve", Message: "the caller's connection is gone"})
	c.ep.forget(c)
	c.flushTouched()
	if lostWithoutFault(err) {
		c.ep.log.Debug("connection closed", "peer", c.name(), "err", err)
		return
	}
	c.ep.log.Warn("connection closed", "peer", c.name(), "err", err)
}

// tick is called now and then by the endpoint.
func (c *conn) tick(now time.Time) {
	if stalled := c.Stalled(); stalled > c.ep.cfg.frameTimeout {
		c.leave(abstract.Errorf(abstract.Timeout, "a frame was not finished within %s; send whole frames", c.ep.cfg.frameTimeout))
		return
	}
	c.mu.Lock()
	v := c.judge.Tick(now)
	c.mu.Unlock()
	if v.Reply != nil {
		c.reply(v.Reply)
		c.Flush()
	}
	if v.Close != nil {
		c.Close(v.Close)
	}
}

// goodbye tells a modern peer that we are about to close; legacy peers would not understand it.
func (c *conn) goodbye(code abstract.RCode, reason string) {
	if c.modern() {
		c.reply(&message.Goodbye{Header: message.ID(c.ep.newID()), Code: code, Reason: reason})
		c.Flush()
	}
}

// leave says goodbye, writes what is queued and closes.
func (c *conn) leave(err error) {
	c.goodbye(abstract.CodeOf(err), err.Error())
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	go func() { // Shutdown waits for the peer to read; nobody else has to
		defer cancel()
		c.Shutdown(ctx, err)
	}()
}

// reply queues a message to the peer, shaped as it understands it. It is written
// by whoever flushes next: the connection does that itself after OnMessages.
func (c *conn) reply(m abstract.BaseMessage) {
	frame, err := c.encode(m)
	if err == nil {
		err = c.Queue(frame)
	}
	if abstract.CodeOf(err) == abstract.Overloaded {
		c.Close(abstract.Errorf(abstract.Overloaded, "the peer does not read its %s messages", m.Type()))
	}
}

// encode makes the frame of a message for this peer. What is too large for the
// peer becomes an answer that says so.
func (c *conn) encode(m abstract.BaseMessage) (abstract.Frame, error) {
	m = c.judge.Shape(m)
	b, err := c.ep.protocol.Append(nil, m)
	if err == nil {
		err = c.judge.CheckSize(len(b))
	}
	if err != nil && m.Type() == abstract.RspRPC {
		short := &message.RpcResponse{Header: message.ID(m.ID()), Code: abstract.CodeOf(err), Message: publicText(err)}
		if !c.modern() {
			short.Code = abstract.Internal // the caller's parameters are not to blame
		}
		b, err = c.ep.protocol.Append(nil, c.judge.Shape(short))
	}
	if err != nil {
		c.ep.log.Error("message not sent", "peer", c.name(), "id", m.ID(), "err", err)
		return abstract.Frame{}, err
	}
	return abstract.Frame{Class: abstract.ClassOf(m.Type()), Count: 1, Bytes: b}, nil
}

// touch notes that something was queued for another connection, to be flushed
// when the current batch is done: outside every lock, and once however many
// messages were queued.
func (c *conn) touch(other *conn) {
	if other != c && other.dirty.CompareAndSwap(false, true) {
		c.touched = append(c.touched, other)
	}
}

func (c *conn) flushTouched() {
	for i, other := range c.touched {
		other.dirty.Store(false) // before the flush: who queues from here on flushes again
		other.Flush()
		c.touched[i] = nil
	}
	c.touched = c.touched[:0]
}

// refuse answers a request that cannot be served with err; anything else that
// is wrong is noted and ignored.
func (c *conn) refuse(m abstract.BaseMessage, err error) {
	code, text := abstract.CodeOf(err), publicText(err)
	switch m := m.(type) {
	case *message.RpcRequest:
		c.reply(&message.RpcResponse{Header: message.ID(m.ID()), Code: code, Message: text})
	case *message.TopicRequest:
		c.reply(&message.TopicResponse{Header: message.ID(m.ID()), Code: code, Message: text})
	case *message.ServiceRequest:
		op := m.Op
		if code == abstract.InvalidOp {
			op = abstract.ServiceUnknown
		}
		c.reply(&message.ServiceResponse{Header: message.ID(m.ID()), Op: op, Code: code, Message: text})
	default:
		c.ep.log.Debug("message ignored", "peer", c.name(), "type", m.Type().String(), "id", m.ID(), "err", err)
	}
}

// unserved answers a request of a kind that no part of this server handles.
func (c *conn) unserved(m abstract.BaseMessage) {
	c.refuse(m, abstract.Errorf(abstract.WrongMessageType, "this server does not handle %s; connect to one that does", m.Type()))
}

// publicText is what of an error may be shown to the peer.
func publicText(err error) string {
	e, ok := asError(err)
	if !ok {
		return ""
	}
	return e.Message
}
