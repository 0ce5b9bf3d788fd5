package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/business/requestor"
	"trefoil/concrete/message"
)

// relayEnd is the end of relayed calls at a provider's connection.
type relayEnd struct {
	conn     *conn
	requests *requestor.Requestor

	mu   sync.Mutex
	owed []*conn // who has been queued something and is to be flushed
}

func newRelayEnd(c *conn) *relayEnd {
	return &relayEnd{conn: c, requests: requestor.New(requestor.Config{})}
}

// begin stores a call.
func (e *relayEnd) begin(call *relayedCall, deadline time.Time, most int) error {
	if e.requests.Len() >= most {
		return abstract.Errorf(abstract.Overloaded, "more than %d calls through the broker are under way to this provider; call another one, or later", most)
	}
	return e.requests.Put(&call.pending, deadline, abstract.RspRPC, call)
}

// send queues the request of a call that was begun. A provider that does not read is
// no reason to wait: what goes wrong ends the call.
func (e *relayEnd) send(call *relayedCall, req *message.RpcRequest) {
	frame, err := e.conn.encode(req)
	if err == nil {
		frame.Mark = call.pending.Mark()
		err = e.conn.Queue(frame)
	}
	if err != nil {
		e.requests.Fail(&call.pending, err)
	}
}

// owe notes that something was queued for a connection.
func (e *relayEnd) owe(c *conn) {
	e.mu.Lock()
	e.owed = append(e.owed, c)
	e.mu.Unlock()
}

// settle sees to it that what was queued is written: at the end of a turn, or at once
// when there is none. Whoever may have ended calls does it, without a lock held.
func (e *relayEnd) settle(t *turn) {
	e.mu.Lock()
	owed := e.owed
	e.owed = nil
	e.mu.Unlock()
	if t == nil {
		flushAll(owed)
		return
	}
	for _, c := range owed {
		t.touch(c)
	}
}

// relayedCall is a call that was passed on.
type relayedCall struct {
	relay   *relay
	caller  *conn
	end     *relayEnd
	id      string // the caller's
	size    int64
	lists   bool              // it asks for a list of methods, not all of which the caller may know
	pending requestor.Pending // with the provider
}

var (
	_ requestor.Waiter = (*relayedCall)(nil)
	_ canceller        = (*relayedCall)(nil)
)

// Ended answers the caller, and tells the provider that nobody waits any more when
// its answer has not come.
func (c *relayedCall) Ended(m abstract.BaseMessage, err error) {
	c.forget()
	if err == nil {
		rsp := m.(*message.RpcResponse)
		if c.lists && rsp.Code == abstract.OK {
			rsp.Result = c.caller.mayKnow(rsp.Result)
		}
		c.caller.reply(&message.RpcResponse{Header: message.ID(c.id), Code: rsp.Code, Result: rsp.Result, Message: rsp.Message, Details: rsp.Details})
	} else {
		e, _ := asError(err)
		c.caller.reply(notPassed(c.id, err, e.Sent))
		if e.Sent == abstract.SentUnknown && (e.Code == abstract.Timeout || e.Code == abstract.Cancelled) {
			c.end.conn.reply(&message.Cancel{Header: message.ID(c.pending.ID())})
			c.end.owe(c.end.conn)
		}
	}
	c.end.owe(c.caller)
	c.relay.exit()
}

// forget removes the call from its caller's connection.
func (c *relayedCall) forget() {
	c.caller.cancellable.leave(c.id, c)
	c.caller.relaying.leave(c)
	c.caller.release(access.InFlight)
}

// giveUp ends the call because nobody waits for it any more.
func (c *relayedCall) giveUp() { c.end.requests.Cancel(&c.pending, context.Canceled) }

// cancelled ends the call because its caller has said so.
func (c *relayedCall) cancelled() {
	c.giveUp()
	c.end.settle(nil)
}

// notPassed answers a call that the provider has not answered. The details say
// whether its request went there, beside what else they say.
func notPassed(id string, err error, sent abstract.Sent) *message.RpcResponse {
	details := []byte(`{"sent":"` + sent.String() + `"}`)
	if e, ok := asError(err); ok && len(e.Details) > len("{}") && e.Details[0] == '{' {
		details = append(append(details[:len(details)-1], ','), e.Details[1:]...)
	}
	return &message.RpcResponse{Header: message.ID(id), Code: abstract.CodeOf(err), Message: publicText(err), Details: details}
}

// relaying is what a connection has to do with relayed calls.
type relaying struct {
	end atomic.Pointer[relayEnd] // nil until the first call goes to it

	mu    sync.Mutex
	calls map[string]*relayedCall // that came from it, by its own ids; nil when there are none
	bytes int64                   // of their requests
}

// enter stores a call that comes from the connection.
func (l *relaying) enter(call *relayedCall, most, mostBytes int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.calls) >= most, len(l.calls) > 0 && l.bytes+call.size > int64(mostBytes):
		return abstract.Errorf(abstract.Overloaded, "more than %d calls through the broker, or %d bytes of them, of this connection are under way; wait for some to end", most, mostBytes)
	case l.calls[call.id] != nil:
		return abstract.Errorf(abstract.InvalidMessage, "a call with this id is under way; give each its own")
	case l.calls == nil:
		l.calls = make(map[string]*relayedCall)
	}
	l.calls[call.id] = call
	l.bytes += call.size
	return nil
}

// leave removes a call.
func (l *relaying) leave(call *relayedCall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls[call.id] != call {
		return
	}
	delete(l.calls, call.id)
	l.bytes -= call.size
	if len(l.calls) == 0 {
		l.calls = nil // the memory of a burst does not stay
	}
}

// all returns the calls that came from the connection.
func (l *relaying) all() []*relayedCall {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*relayedCall, 0, len(l.calls))
	for _, call := range l.calls {
		list = append(list, call)
	}
	return list
}
