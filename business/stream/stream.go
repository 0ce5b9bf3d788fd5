// Package stream is one side's state of a stream of messages: what has come and is
// waiting to be read, and how much may be sent. Each side tells the other how much it
// has room for (credit, in bytes); a sender without credit waits, and so a reader that
// does not read holds up its own stream, with bounded memory, and nothing else of the
// connection.
//
// Stream is that state alone: it knows no socket. End joins it to a Wire and is what users
// hold; Set is the streams of one connection, and carries what comes to them. None of
// them starts a goroutine.
package stream

import (
	"bytes"
	"context"
	"io"
	"sync"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// DefaultWindow is how many bytes of messages wait for a reader at most, beside one
// message that is larger.
const DefaultWindow = 64 << 10

// pace is how many bytes of one stream wait to be written at most, beside one message
// that is larger: whatever credit a stream has, the messages of others are not far behind.
const pace = 64 << 10

// Stream is one side's end of a stream. Sending and receiving are safe for concurrent
// use with each other; messages sent by several goroutines have no order among them.
type Stream struct {
	window int64
	excess *Budget // bounds what waits beyond the windows of many streams; nil: nothing does

	mu       sync.Mutex
	queue    []message.Raw // received, not read
	held     int64         // cost of the queue
	allowed  int64         // what the other side may still send
	read     int64         // cost of what was read since credit was given last
	finished bool          // the other side sends nothing more
	result   error         // how that ended it; nil: well
	credit   int64         // what we may still send
	unsent   int64         // cost of what was sent and is not written yet
	closed   bool          // we send nothing more
	refusal  error         // why, unless we said so ourselves
	cause    error         // why all is over, unless nil
	readable chan struct{} // holds an element when there is something new to look at
	sendable chan struct{} // the same for senders
	over     chan struct{} // closed when all is over
}

// New makes a Stream. credit is what the other side has said it takes; window is
// what we take, which the owner tells the other side; 0 stands for DefaultWindow.
func New(credit, window int64) *Stream {
	if window <= 0 {
		window = DefaultWindow
	}
	return &Stream{
		window: window, allowed: window, credit: credit,
		readable: make(chan struct{}, 1), sendable: make(chan struct{}, 1), over: make(chan struct{}),
	}
}

// Window is the credit that the other side begins with.
func (s *Stream) Window() int64 { return s.window }

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Receive takes a copy of a message of the other side. The error is Overloaded when that had no
// credit, and InvalidMessage when it had said that nothing more comes: such a peer
// cannot be trusted with the stream, which is to be ended.
func (s *Stream) Receive(data message.Raw) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cause != nil:
		return nil // it did not know yet
	case s.finished:
		return abstract.Errorf(abstract.InvalidMessage, "a message after the end of its stream")
	case s.allowed <= 0:
		return abstract.Errorf(abstract.Overloaded, "a message of a stream without credit; wait for STREAM_CREDIT")
	case !s.hold(message.StreamCost(data)):
		return abstract.Errorf(abstract.Overloaded, "the streams of this connection have more than %d bytes waiting to be read, beside a window for each; send smaller messages", s.excess.limit)
	}
	s.allowed -= message.StreamCost(data)
	s.queue = append(s.queue, bytes.Clone(data)) // data would keep all that it came with
	wake(s.readable)
	return nil
}

// hold counts what is kept until it is read, or is no more with a cost below 0. It
// returns false when that would be too much. It is called with the lock held.
func (s *Stream) hold(cost int64) bool {
	beyond := max(0, s.held+cost-s.window) - max(0, s.held-s.window)
	if !s.excess.Take(beyond) {
		return false
	}
	s.held += cost
	return true
}

// Finish takes the other side's word that nothing more comes: err is how the stream
// ended, nil if well. What it has sent before can still be read.
func (s *Stream) Finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.finished {
		s.finished, s.result = true, err
		wake(s.readable)
	}
}

// End takes the other side's word that all is over: err is how, nil if well. What it has
// sent before can still be read; nothing can be sent any more.
func (s *Stream) End(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished && s.refusal != nil {
		return
	}
	s.finished, s.result = true, err
	if err == nil {
		err = abstract.Errorf(abstract.InvalidOp, "the other side has ended the stream; receive what it has sent")
	}
	s.closed, s.refusal = true, err
	wake(s.readable)
	wake(s.sendable)
}

// Credit takes the other side's word that it has room for so much more.
func (s *Stream) Credit(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 1 << 40 // no sum of credits overflows
	s.credit = min(s.credit+bytes, most)
	s.wakeSender()
}

// wakeSender is called with the lock held.
func (s *Stream) wakeSender() {
	if s.credit > 0 && s.unsent < pace {
		wake(s.sendable)
	}
}

// Written takes back what Reserve has counted of a message: it is written.
func (s *Stream) Written(cost int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsent -= cost
	s.wakeSender()
}

// Return takes back a Reserve whose message is not sent after all.
func (s *Stream) Return(cost int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsent -= cost
	s.credit += cost
	s.wakeSender()
}

// Next waits for the next message. grant, unless it is 0, is credit to be given to
// the other side. The error is io.EOF when the other side has ended the stream well,
// how it ended otherwise, the cause of Close, or ctx's. One goroutine may read at a time.
func (s *Stream) Next(ctx context.Context) (data message.Raw, grant int64, err error) {
	for {
		s.mu.Lock()
		switch {
		case s.cause != nil:
			err = s.cause
		case len(s.queue) > 0:
			data = s.queue[0]
			s.queue[0] = nil
			if s.queue = s.queue[1:]; len(s.queue) == 0 {
				s.queue = nil // an idle stream keeps no memory
			}
			s.hold(-message.StreamCost(data))
			grant = s.give(message.StreamCost(data))
			s.mu.Unlock()
			return data, grant, nil
		case s.finished && s.result != nil:
			err = s.result
		case s.finished:
			err = io.EOF
		}
		s.mu.Unlock()
		if err != nil {
			return nil, 0, err
		}
		select {
		case <-s.readable:
		case <-s.over:
		case <-ctx.Done():
			return nil, 0, &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "receive from a stream", Err: ctx.Err()}
		}
	}
}

// give counts what was read, and returns the credit to be given for it: not for each
// message, but when half of the window is free again. It is called with the lock held.
func (s *Stream) give(cost int64) (grant int64) {
	if s.read += cost; s.finished || 2*s.read < s.window {
		return 0
	}
	grant, s.read = s.read, 0
	s.allowed += grant
	return grant
}

// Reserve waits until a message of a cost may be sent, and counts it as sent: Written or
// Return follow. The error is why it may not be sent any more: the cause of Close, how
// the other side ended the stream, or ctx's.
func (s *Stream) Reserve(ctx context.Context, cost int64) error {
	for {
		s.mu.Lock()
		err := s.cause
		switch {
		case err != nil:
		case s.refusal != nil:
			err = s.refusal
		case s.closed:
			err = abstract.Errorf(abstract.InvalidOp, "a message after the end of the stream was said; send before CloseSend")
		case s.credit > 0 && s.unsent < pace:
			s.credit -= cost
			s.unsent += cost
			s.wakeSender() // another one
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		if err != nil {
			wake(s.sendable) // the next one is to be told, too
			return err
		}
		select {
		case <-s.sendable:
		case <-s.over:
		case <-ctx.Done():
			return &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "send to a stream", Message: "the other side does not read", Err: ctx.Err()}
		}
	}
}

// CloseSend says that we send nothing more. It returns false when that was said
// before, or all is over.
func (s *Stream) CloseSend() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.cause != nil {
		return false
	}
	s.closed = true
	wake(s.sendable)
	return true
}

// Close ends everything with a cause: who waits is told, and what was not read is
// dropped. It returns false when it was closed before.
func (s *Stream) Close(cause error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return false
	}
	s.cause, s.closed, s.queue = cause, true, nil
	s.hold(-s.held)
	close(s.over)
	return true
}

// Done is closed when all is over.
func (s *Stream) Done() <-chan struct{} { return s.over }
