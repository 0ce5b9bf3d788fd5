package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/peer"
	"trefoil/business/protect"
	"trefoil/business/session"
	"trefoil/concrete/lv"
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

	mu       sync.Mutex // guards both
	judge    *peer.Peer
	received uint64 // when the last tick looked

	calls     atomic.Int64 // running or waiting handlers
	callBytes atomic.Int64 // of their requests
	dirty     atomic.Bool  // somebody has queued for us and is going to flush
	parted    atomic.Bool  // we have said goodbye
	left      atomic.Bool  // the peer has

	reportedAt  time.Time // when the peer's reports were begun to be counted; belongs to the goroutine whose turn it is
	reports     int
	looks       *protect.RateLimiter // of the addresses that the peer registers; made by the first, in an errand
	relaying    relaying             // calls through the broker
	cancellable cancellables
	streams     connStreams
	packs       atomic.Uint32 // the abstract.CompressMethod of what is sent

	outHint int     // how large a turn's responses have been; belongs to the goroutine whose turn it is
	errands errands // what waits for the Store
	patient errands // what waits for other peers
	gone    bool    // the registry has seen the end; behind its lock
	mending bool    // an errand waits that mends registrations; the same

	catchUps catchUps // of its subscriptions

	// session is what HELLO was answered with, if the peer has a session. It is set
	// before the peer's first request is looked at.
	session session.ID
	bound   bool

	// Who the peer is, where somebody asks; set by its first message.
	opened  time.Time
	badge   atomic.Pointer[badge] // nil: nobody has asked yet
	refused bool                  // the peer was not admitted; belongs to the goroutine whose turn it is
	paid    uint64                // of the bytes received: counted; the same
}

var _ abstract.Receiver = (*conn)(nil)

func (c *conn) name() string { return c.RemoteAddr().String() }

// modern says whether the peer has said HELLO.
func (c *conn) modern() bool { return c.judge.Modern() }

// OnMessages judges the messages and handles them in order.
func (c *conn) OnMessages(batch []abstract.BaseMessage) {
	t := newTurn(c, batch)
	if t.run() {
		t.end()
		return
	}
	<-t.passed // the transport goes on meanwhile, but may not take us for done before
	t.free()
}

// receive judges one message and handles it, if it is to be. open is false when the
// connection is being closed.
func (t *turn) receive(m abstract.BaseMessage) (delivered, open bool) {
	c := t.conn
	if c.refused {
		return false, false
	}
	if packed, ok := m.(*lv.Packed); ok {
		return false, t.receivePacked(packed)
	}
	c.mu.Lock()
	v := c.judge.Receive(m, t.now)
	c.mu.Unlock()
	if err := c.admission(m, v); err != nil {
		c.turnAway(m, v, err)
		return false, false
	}
	if v.Deliver {
		t.handle(m)
	}
	if v.Reply != nil {
		if hello, ok := v.Reply.(*message.HelloResponse); ok {
			hello.Run = c.ep.run
			c.agree(m, hello)
			if v.Session != nil && c.ep.sessions != nil {
				grant, err := c.ep.sessions.greet(c, v.Session)
				if err != nil {
					c.turnAway(m, v, err)
					return false, false
				}
				hello.Session = grant
			}
		}
		c.reply(v.Reply)
	}
	switch {
	case v.Close == nil:
		return v.Deliver, true
	case v.Leaving:
		c.left.Store(true)
		if c.bound && !c.parted.Load() { // the answer to our goodbye ends nothing
			c.ep.sessions.end(c)
		}
		c.finish(v.Close)
	default:
		c.leave(v.Close)
	}
	return v.Deliver, false
}

// handle dispatches a message, or says what is wrong with it.
func (t *turn) handle(m abstract.BaseMessage) {
	err := m.Check()
	if err == nil && t.broke != nil {
		err = t.broke
	}
	if err == nil {
		if err = t.conn.permits(m); err != nil {
			t.conn.ep.refusals.note(t.conn, err)
		}
	}
	if err != nil {
		t.conn.refuse(m, err)
		return
	}
	t.dispatch(m)
}

func (t *turn) dispatch(m abstract.BaseMessage) {
	one := [1]abstract.BaseMessage{m}
	t.conn.ep.dispatch.Dispatch(t, one[:])
}

// OnClose removes every trace of the connection.
func (c *conn) OnClose(err error) {
	c.cancel(errCallerGone())
	c.dismiss()
	c.streams.lost()
	c.forgetBehind(&c.patient)
	if lostWithoutFault(err) {
		c.ep.logs.conn.Debug("connection closed", "peer", c.name(), "err", err)
		return
	}
	c.ep.logs.conn.Warn("connection closed", "peer", c.name(), "err", err)
}

// errCallerGone is why the contexts of handlers end whose caller cannot be answered.
func errCallerGone() error {
	return &abstract.Error{Code: abstract.Disconnected, Op: "serve", Message: "the caller's connection is gone"}
}

// tick is called now and then by the endpoint.
func (c *conn) tick(now time.Time) {
	stalled := c.Stalled()
	if frameTimeout := c.ep.limits.Load().FrameTimeout; stalled > frameTimeout {
		c.leave(abstract.Errorf(abstract.Timeout, "a frame was not finished within %s; send whole frames", frameTimeout))
		return
	}
	if err := c.expelled(); err != nil {
		c.leave(err)
		return
	}
	c.mu.Lock()
	if received := c.Received(); stalled > 0 && received != c.received {
		c.received = received
		c.judge.Heard(now) // a long frame is on its way, and holds up the peer's pongs
	}
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
		c.parted.Store(true)
		c.reply(&message.Goodbye{Header: message.ID(c.ep.newID()), Code: code, Reason: reason})
		c.Flush()
	}
}

// leave says goodbye, writes what is queued and closes.
func (c *conn) leave(err error) {
	c.goodbye(abstract.CodeOf(err), publicText(err))
	c.finish(err)
}

// finish writes what is queued and closes.
func (c *conn) finish(err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	go func() { // Shutdown waits for the peer to read; nobody else has to
		defer cancel()
		c.Shutdown(ctx, err)
	}()
}

// reply queues a message to the peer, shaped as it understands it. It is written
// by whoever flushes next: the connection does that itself after OnMessages.
func (c *conn) reply(m abstract.BaseMessage) {
	if frame, err := c.encode(m); err == nil {
		c.queue(frame, m.Type())
	}
}

// queue queues a frame; a peer that lets its answers pile up is closed.
func (c *conn) queue(frame abstract.Frame, t abstract.MType) {
	if err := c.Queue(frame); abstract.CodeOf(err) == abstract.Overloaded {
		c.Close(abstract.Errorf(abstract.Overloaded, "the peer does not read its %s messages", t))
	}
}

// encode makes the frame of a message for this peer. What is too large for the
// peer becomes an answer that says so.
func (c *conn) encode(m abstract.BaseMessage) (abstract.Frame, error) {
	m = c.judge.Shape(m)
	b, err := c.ep.protocol.Append(lv.Memory(room(m)), m)
	if err == nil {
		err = c.judge.CheckSize(len(b))
	}
	if err != nil {
		if short := c.shorter(m, err); short != nil {
			b, err = c.ep.protocol.Append(nil, c.judge.Shape(short))
		}
	}
	if err != nil {
		c.ep.logs.conn.Debug("message not sent", "peer", c.name(), "id", m.ID(), "err", err)
		return abstract.Frame{}, err
	}
	return abstract.Frame{Class: abstract.ClassOf(m.Type()), Count: 1, Bytes: c.pack(b), Free: lv.Recycle}, nil
}

// shorter is what answers a request when m, which should have, is too large for the
// peer; nil when m is no answer.
func (c *conn) shorter(m abstract.BaseMessage, why error) abstract.BaseMessage {
	head := message.ID(m.ID())
	switch m := m.(type) {
	case *message.RpcResponse:
		short := &message.RpcResponse{Header: head, Code: abstract.CodeOf(why), Message: publicText(why)}
		if e, ok := asError(why); ok {
			short.Details = e.Details
		}
		if !c.modern() {
			short.Code = abstract.Internal // the caller's parameters are not to blame
		}
		return short
	case *message.ServiceResponse:
		if m.Code != abstract.OK {
			return &message.ServiceResponse{Header: head, Op: m.Op, Code: m.Code}
		}
		return &message.ServiceResponse{Header: head, Op: m.Op, Code: abstract.CodeOf(why)}
	case *message.TopicResponse:
		if m.Info != nil { // without it, it would say that there is nothing
			return &message.TopicResponse{Header: head, Code: abstract.CodeOf(why), Message: publicText(why)}
		}
		return &message.TopicResponse{Header: head, Code: m.Code}
	case *message.EndNotice:
		return &message.EndNotice{Header: head, Code: m.Code}
	case *message.NodeResponse:
		if m.Code != abstract.OK {
			return &message.NodeResponse{Header: head, Code: m.Code}
		}
		return &message.NodeResponse{Header: head, Code: abstract.CodeOf(why), Message: publicText(why)}
	}
	return nil
}

// room is about how long the frame of m will be.
func room(m abstract.BaseMessage) int {
	switch m := m.(type) {
	case *message.RpcResponse:
		return len(m.Result) + len(m.ID()) + outSlack
	case *message.RpcRequest:
		return len(m.Method) + len(m.Parameters) + len(m.Instance) + (2+len(m.Meta))*outSlack
	}
	return 0
}

// touch notes that something was queued for another connection, to be flushed
// when the turn is done: outside every lock, and once however many messages were
// queued.
func (t *turn) touch(other *conn) {
	if other != t.conn && other.dirty.CompareAndSwap(false, true) {
		t.touched = append(t.touched, other)
	}
}

func (t *turn) touchAll(others []*conn) {
	for _, c := range others {
		t.touch(c)
	}
}

// refuse answers a request that cannot be served with err; anything else that
// is wrong is noted and ignored.
func (c *conn) refuse(m abstract.BaseMessage, err error) {
	if c.ep.over.Load() { // no answer lets the peer ask again, once we, or another one, are back
		c.Close(abstract.Errorf(abstract.Draining, "the server has shut down"))
		return
	}
	code, text := abstract.CodeOf(err), publicText(err)
	switch m := m.(type) {
	case *message.RpcRequest:
		if c.unanswered(m) {
			c.ep.logs.conn.Debug("request without an answer refused", "peer", c.name(), "method", m.Method, "id", m.ID(), "err", err)
			return
		}
		rsp := &message.RpcResponse{Header: message.ID(m.ID()), Code: code, Message: text}
		if e, ok := asError(err); ok {
			rsp.Details = e.Details
		}
		c.reply(rsp)
	case *message.TopicRequest:
		if (m.Op == abstract.TopicSend || m.Op == abstract.TopicAck) && c.modern() { // nobody waits for an answer
			c.ep.logs.topic.Debug("request without an answer refused", "peer", c.name(), "op", m.Op.String(), "topic", m.Topic, "err", err)
			return
		}
		c.reply(&message.TopicResponse{Header: message.ID(m.ID()), Code: code, Message: text})
	case *message.ServiceRequest:
		op := m.Op
		if code == abstract.InvalidOp {
			op = abstract.ServiceUnknown
		}
		c.reply(&message.ServiceResponse{Header: message.ID(m.ID()), Op: op, Code: code, Message: text})
	case *message.NodeRequest:
		rsp := &message.NodeResponse{Header: message.ID(m.ID()), Code: code, Message: text}
		if e, ok := asError(err); ok {
			rsp.Details = e.Details
		}
		c.reply(rsp)
	case *message.RpcResponse:
		c.ep.relay.spoiled(c, m)
	case *message.StreamRequest:
		c.refuseStream(m, err)
	case *message.StreamMessage, *message.CreditNotice, *message.EndNotice:
		c.spoilStream(m, err)
	default:
		c.ep.logs.conn.Debug("message ignored", "peer", c.name(), "type", m.Type().String(), "id", m.ID(), "err", err)
	}
}

// unserved answers a request of a kind that no part of this server handles.
func (t *turn) unserved(m abstract.BaseMessage) {
	c := t.conn
	if m.Type() == abstract.ReqNode {
		c.refuse(m, abstract.Errorf(abstract.Unsupported, "this server has no tree of nodes"))
		return
	}
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
