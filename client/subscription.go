package client

import (
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Subscription is one subscriber's interest in a topic, with a queue of its own.
// It survives reconnects; messages published while the connection is down are
// not seen. Safe for concurrent use. Cancel it when it is no longer needed.
type Subscription struct {
	conn  *Conn
	topic string

	mu      sync.Mutex
	waiting []Message
	spare   []Message // memory for waiting; only deliver gives some
	bytes   int
	missed  uint64        // dropped since the last message that was put
	ready   chan struct{} // holds an element while there is something to take, or the end
	err     error         // why it ended
	ended   atomic.Bool   // err is set
}

func newSubscription(c *Conn, topic string) *Subscription {
	return &Subscription{conn: c, topic: topic, ready: make(chan struct{}, 1)}
}

// Topic is the topic's name.
func (s *Subscription) Topic() string { return s.topic }

// Cancel ends the subscription: no call of its callback begins any more, but for
// one that was just about to when Cancel was called. When it
// was this Conn's last one to the topic, the broker is told. It may be called
// from the callback.
func (s *Subscription) Cancel(ctx context.Context) error {
	s.end(errCancelled)
	if s.conn.topics.drop(s) {
		return s.conn.topics.unsubscribe(ctx, s.topic)
	}
	return nil
}

// Messages returns the messages as they come, for a subscription made without a
// callback, until ctx ends, the loop is left, or the subscription is cancelled.
// The last pair carries the error, if there is one. Leaving the loop does not
// cancel: another loop goes on with the next message. Loops that run at the same
// time share the messages.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := s.next(ctx)
			if err != nil {
				yield(Message{}, err)
				return
			}
			if !s.conn.cfg.handOver(m, yield) {
				return
			}
		}
	}
}

// forget cancels without anybody waiting for the broker's answer.
func (s *Subscription) forget() {
	s.end(errCancelled)
	if s.conn.topics.drop(s) {
		go func() { _ = s.conn.topics.unsubscribe(s.conn.ctx, s.topic) }()
	}
}

// put queues pushes. When the queue is full, the oldest messages make room.
func (s *Subscription) put(pushes []abstract.BaseMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	if len(s.waiting) == 0 && cap(s.waiting) == 0 {
		s.waiting = s.spare // what deliver has done with
		s.spare = nil
	}
	s.waiting = slices.Grow(s.waiting, len(pushes))
	for _, push := range pushes {
		m := push.(*message.TopicRequest)
		s.waiting = append(s.waiting, Message{Topic: s.topic, ID: m.ID(), Data: m.Message, Missed: s.missed, Meta: m.Meta, ctx: s.conn.ctx})
		s.missed = 0
		s.bytes += s.waiting[len(s.waiting)-1].size()
	}
	s.makeRoom()
	s.wake()
}

// makeRoom drops the oldest messages above the limit. One may always wait.
func (s *Subscription) makeRoom() {
	drop := 0
	for s.bytes > s.conn.cfg.subscribing && drop < len(s.waiting)-1 {
		lost := &s.waiting[drop]
		s.bytes -= lost.size()
		drop++
		s.waiting[drop].Missed += lost.Missed + 1
	}
	clear(s.waiting[:drop])
	s.waiting = s.waiting[drop:]
}

// size is what a waiting message is counted as: its text and what holds it.
func (m *Message) size() int { return len(m.Data) + len(m.ID) + 120 + 64*len(m.Meta) }

// miss notes messages that never arrived.
func (s *Subscription) miss(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missed += n
}

func (s *Subscription) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// end ends the subscription; only the first reason counts.
func (s *Subscription) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		s.ended.Store(true)
		s.waiting, s.spare, s.bytes = nil, nil, 0
		s.wake()
	}
}

// spareMessages bounds the memory that is kept for further messages.
const spareMessages = 1024

// take returns everything that waits. done, which may be nil, is what it returned
// before.
func (s *Subscription) take(done []Message) ([]Message, error) {
	clear(done)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.wake() // for whoever asks again
		return nil, s.err
	}
	if cap(done) <= spareMessages {
		s.spare = done[:0]
	}
	all := s.waiting
	s.waiting, s.bytes = nil, 0
	return all, nil
}

// deliver calls fn for every message until the subscription ends.
func (s *Subscription) deliver(fn func(Message)) {
	var batch []Message
	var err error
	for range s.ready {
		if batch, err = s.take(batch); err != nil {
			return
		}
		for i := range batch {
			if s.ended.Load() {
				return
			}
			fn(batch[i])
		}
	}
}

// next waits for one message.
func (s *Subscription) next(ctx context.Context) (Message, error) {
	for {
		if m, ok, err := s.takeOne(); ok || err != nil {
			return m, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return Message{}, &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "read a subscription", Message: "the context is over", Err: ctx.Err()}
		}
	}
}

func (s *Subscription) takeOne() (m Message, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || len(s.waiting) == 0 {
		return Message{}, false, s.err
	}
	m = s.waiting[0]
	s.waiting[0] = Message{}
	s.waiting = s.waiting[1:]
	s.bytes -= m.size()
	return m, true, nil
}
