package server

import (
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// borrowed is a connection that somebody else reads, and that calls for us come over:
// a provider's connection to the broker. Its reader hands the calls over, and never
// waits for them; from there on they are handled as those of any other connection.
type borrowed struct {
	abstract.BaseConnection
	conn *conn

	mu      sync.Mutex
	waiting []abstract.BaseMessage
	bytes   int
	serving int   // counts who serves what waits: a number for each, so that one who was passed over notices
	busy    bool  // somebody serves
	gone    bool  // the connection is gone
	why     error // the same
	closed  bool  // and somebody is about to remove, or has removed, its traces
}

var (
	_ abstract.Callee   = (*RpcServer)(nil)
	_ abstract.Receiver = (*borrowed)(nil)
)

// Accept takes calls that come over a connection of somebody else; it is called by
// an abstract.CallSource.
func (s *RpcServer) Accept(bc abstract.BaseConnection, maxFrame int) abstract.Receiver {
	b := &borrowed{BaseConnection: bc}
	b.conn = s.ep.newConn(b) // which the endpoint does not look after: it is not ours to ping or close
	b.conn.judge.Receive(&message.Hello{Version: message.ProtocolVersion, MaxFrame: maxFrame}, time.Now())
	return b
}

// OnMessages takes messages, to be handled elsewhere.
func (b *borrowed) OnMessages(batch []abstract.BaseMessage) {
	for _, m := range batch {
		switch begin, err := b.put(m); {
		case err != nil:
			b.turnDown(m, err)
		case begin:
			b.conn.ep.deliver(b.serve)
		}
	}
}

// turnDown answers a call at once. Unlike conn.refuse it never waits: the
// connection's reader calls it.
func (b *borrowed) turnDown(m abstract.BaseMessage, err error) {
	switch m := m.(type) {
	case *message.StreamRequest:
		_ = b.BaseConnection.Send(&message.EndNotice{Header: message.ID(m.ID()), Code: abstract.CodeOf(err), Message: publicText(err)})
	case *message.StreamMessage, *message.CreditNotice, *message.EndNotice:
		b.conn.ep.deliver(func() { b.conn.spoilStream(m, err) })
	case *message.RpcRequest:
		if m.OneWay {
			return
		}
		_ = b.BaseConnection.Send(&message.RpcResponse{Header: message.ID(m.ID()), Code: abstract.CodeOf(err), Message: publicText(err)}) // or the caller's deadline tells it
	}
}

// Queue waits for room where that is used up: closing the connection, as with callers
// of our own that do not read, would also end what it is there for.
func (b *borrowed) Queue(f abstract.Frame) error {
	err := b.BaseConnection.Queue(f)
	if abstract.CodeOf(err) != abstract.Overloaded {
		return err
	}
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	for left := b.conn.ep.cfg.writeTimeout; left > 0 && abstract.CodeOf(err) == abstract.Overloaded; left -= roomEvery {
		b.Flush()
		select {
		case <-tick.C:
		case <-b.Done():
		}
		err = b.BaseConnection.Queue(f)
	}
	return err
}

// put adds a message to those that wait, unless the peer is not admitted or they are too many. It returns true
// when somebody has to begin to serve.
func (b *borrowed) put(m abstract.BaseMessage) (begin bool, err error) {
	if err := b.conn.admit(""); err != nil { // here: who is not admitted must not cost us the connection
		return false, err
	}
	size := 0
	if framed, ok := m.(interface{ Frame() []byte }); ok {
		size = len(framed.Frame())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.waiting); n > 0 && (n >= b.conn.ep.limits.Load().CallsPerConn || b.bytes+size > b.conn.ep.cfg.maxInbound) {
		return false, abstract.Errorf(abstract.Overloaded, "too many calls wait that came through the broker; call another provider, or later")
	}
	b.waiting = append(b.waiting, m)
	b.bytes += size
	begin = !b.busy
	b.busy = true
	return begin, nil
}

// take returns what waits. Whoever gets nothing is done; last says that nothing will
// come any more.
func (b *borrowed) take() (batch []abstract.BaseMessage, number int, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	batch = b.waiting
	b.waiting, b.bytes = nil, 0
	b.busy = len(batch) > 0
	if last = b.gone && !b.busy && !b.closed; last {
		b.closed = true
	}
	return batch, b.serving, last
}

// serve handles what waits, until nothing does or another one has taken over.
func (b *borrowed) serve() {
	for {
		batch, number, last := b.take()
		if len(batch) == 0 {
			if last {
				b.conn.OnClose(b.why)
			}
			return
		}
		b.conn.OnMessages(batch)
		b.Flush()
		b.mu.Lock()
		passed := b.serving != number
		b.mu.Unlock()
		if passed {
			return
		}
	}
}

// Yield lets another goroutine serve, as a handler holds this one up.
func (b *borrowed) Yield() {
	b.mu.Lock()
	b.serving++
	b.mu.Unlock()
	b.conn.ep.deliver(b.serve)
}

// OnClose ends the handlers' contexts at once, and removes every trace of the
// connection when what came before has been handled.
func (b *borrowed) OnClose(err error) {
	b.conn.cancel(errCallerGone())
	b.mu.Lock()
	b.gone, b.why = true, err
	begin := !b.busy
	b.busy = true
	b.mu.Unlock()
	if begin {
		b.conn.ep.deliver(b.serve)
	}
}
