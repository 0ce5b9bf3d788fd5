package client

import (
	"context"
	"iter"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Subscription is one subscriber's interest in a topic, with a queue of its own.
// It survives reconnects, and goes on where it was as far as its topics keep what
// was published meanwhile. Safe for concurrent use. Cancel it when it is no longer needed.
type Subscription struct {
	conn  *Conn
	topic string
	asks  subscribing

	mu      sync.Mutex
	waiting []waiting
	spare   []waiting // memory for waiting; only deliver gives some
	bytes   int
	missed  uint64        // dropped since the last message that was put
	gaps    []placedGap   // to be told, in order
	last    uint64        // offset of the last message that came, of a subscription of its own
	epoch   string        // in which last counts
	places  *places       // of one to many topics; nil: it has none
	ready   chan struct{} // holds an element while there is something to take, or the end
	begun   bool          // the broker has made it once
	err     error         // why it ended
	over    error         // why it ends when what waits has been taken
	held    *holding      // at the broker, of one of its own
	acks    acks
	ended   atomic.Bool // err is set
}

// waiting is a push that nobody has taken yet. It becomes a Message only then, which is
// larger and has all that few messages have.
type waiting struct {
	topic, id string
	data      message.Raw
	meta      abstract.Metadata
	more      *message.TopicExtras
	offset    uint64
	missed    uint64   // right before it
	held      *holding // of one that is acknowledged
}

func newSubscription(c *Conn, topic string, asks subscribing) *Subscription {
	s := &Subscription{conn: c, topic: topic, asks: asks, places: placesOf(topic, &asks), ready: make(chan struct{}, 1)}
	if asks.own {
		s.held = &holding{s, asks.extras.Sub}
	}
	return s
}

// Topic is the topic's name.
func (s *Subscription) Topic() string { return s.topic }

// Cancel ends the subscription: no call of its callback begins any more, but for
// one that was just about to when Cancel was called. When it
// was this Conn's last one to the topic, the broker is told. It may be called
// from the callback.
func (s *Subscription) Cancel(ctx context.Context) error {
	s.acks.flush()
	s.end(errCancelled)
	if s.conn.topics.drop(s) {
		return s.conn.topics.unsubscribe(ctx, s)
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
			more := s.conn.cfg.handOver(m, yield)
			s.handedOver(&m, more)
			if !more {
				return
			}
		}
	}
}

// handedOver acknowledges a message when the loop asks for more. One with which it was
// left is given back.
func (s *Subscription) handedOver(m *Message, more bool) {
	switch {
	case m.held == nil || s.asks.manual:
	case more:
		_ = m.Ack(s.conn.ctx) // or it comes again
	default:
		_ = m.Fail(s.conn.ctx)
	}
}

// forget cancels without anybody waiting for the broker's answer.
func (s *Subscription) forget() {
	s.end(errCancelled)
	if s.conn.topics.drop(s) {
		go func() { _ = s.conn.topics.unsubscribe(s.conn.ctx, s) }()
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
	for _, m := range pushes {
		push := m.(*message.TopicRequest)
		w := waiting{topic: push.Topic, id: push.ID(), data: push.Message, meta: push.Meta, more: push.More, offset: push.Offset, missed: s.missed}
		if w.more != nil && w.more.Delivery > 0 {
			w.held = s.held
		}
		s.missed = 0
		s.waiting = append(s.waiting, w)
		s.bytes += w.size()
		if w.offset > 0 {
			s.last = w.offset
		}
	}
	if s.places != nil {
		s.places.came(pushes)
	}
	s.makeRoom()
	s.wake()
}

// makeRoom drops the oldest messages above the limit. One may always wait.
func (s *Subscription) makeRoom() {
	if s.asks.shares() {
		return // no more come than it asked for, and who drops one would have to give it back
	}
	drop := 0
	for s.bytes > s.asks.queue && drop < len(s.waiting)-1 {
		lost := &s.waiting[drop]
		s.bytes -= lost.size()
		drop++
		s.waiting[drop].missed += lost.missed + 1
	}
	if drop > 0 {
		s.pass(drop)
		s.noteAt(0, Gap{Topic: s.topic, Missed: uint64(drop)})
	}
	clear(s.waiting[:drop])
	s.waiting = s.waiting[drop:]
}

// size is what a waiting message is counted as: its text and what holds it.
func (w *waiting) size() int {
	return len(w.data) + len(w.id) + 120 + 64*len(w.meta)
}

// message is what the user gets.
func (s *Subscription) message(w *waiting) Message {
	m := Message{Topic: w.topic, ID: w.id, Data: w.data, Missed: w.missed, Meta: w.meta, Offset: w.offset, held: w.held, ctx: s.conn.ctx}
	if x := w.more; x != nil {
		m.MsgID, m.Time, m.delivery, m.Delivered = x.MsgID, x.Time, x.Delivery, max(x.Delivered, int(min(x.Delivery, 1)))
	}
	return m
}

// miss notes messages that never arrived.
func (s *Subscription) miss(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missed += n
	s.note(Gap{Topic: s.topic, Missed: n})
	s.wake()
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

// finish ends the subscription behind the messages that wait.
func (s *Subscription) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && s.over == nil {
		s.over = err
		s.wake()
	}
}

// lost notes that what was published while the connection was down is not known.
func (s *Subscription) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(Gap{Topic: s.topic, Unrecovered: true})
	s.wake()
}

// spareMessages bounds the memory that is kept for further messages.
const spareMessages = 256

// take returns everything that waits, and what OnGap is to be told of it. done, which may
// be nil, is what it returned before.
func (s *Subscription) take(done []waiting) ([]waiting, []placedGap, error) {
	clear(done)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.wake() // for whoever asks again
		return nil, nil, s.err
	}
	if s.over != nil && len(s.waiting) == 0 {
		s.err = s.over
		s.ended.Store(true)
		s.wake()
		return nil, nil, s.err
	}
	if s.over != nil {
		s.wake() // to come back for the end
	}
	if s.asks.workers == 1 && cap(done) <= spareMessages {
		s.spare = done[:0]
	}
	if s.asks.workers > 1 && len(s.waiting) > 0 { // the others take the rest
		one := append(done[:0], s.waiting[0])
		s.waiting[0] = waiting{}
		s.bytes -= one[0].size()
		if s.waiting = s.waiting[1:]; len(s.waiting) > 0 {
			s.wake()
		}
		return one, s.due(1, true), nil
	}
	all := s.waiting
	s.waiting, s.bytes = nil, 0
	return all, s.due(len(all), true), nil
}

// deliver calls fn for every message until the subscription ends.
func (s *Subscription) deliver(fn func(Message)) {
	var batch []waiting
	var gaps []placedGap
	var err error
	for range s.ready {
		if batch, gaps, err = s.take(batch); err != nil {
			return
		}
		for i := range batch {
			gaps = s.tell(gaps, i)
			if s.ended.Load() {
				return
			}
			if w := &batch[i]; w.held == nil {
				fn(s.message(w))
			} else {
				s.hand(fn, w)
			}
		}
		s.tell(gaps, len(batch))
		s.acks.flush()
	}
}

// hand calls fn with a message that is acknowledged, and does so.
func (s *Subscription) hand(fn func(Message), w *waiting) {
	m := s.message(w)
	if s.call(fn, &m) && !s.asks.manual {
		s.acks.add(&m)
	}
}

// call calls fn with a message that is acknowledged. One of a durable topic is given back
// when fn panics: whoever is to have it next may fare better, and it ends as a
// dead letter if nobody does.
func (s *Subscription) call(fn func(Message), m *Message) (returned bool) {
	defer func() {
		if returned || m.Time.IsZero() { // not of a durable topic: nothing ends its coming again
			return
		}
		if p := recover(); p != nil {
			s.conn.cfg.logger.Error("a subscriber's callback panicked; the message is given back", "topic", m.Topic, "offset", m.Offset, "delivered", m.Delivered, "panic", p, "stack", string(debug.Stack()))
			_ = m.Fail(s.conn.ctx)
		}
	}()
	fn(*m)
	return true
}

// next waits for one message.
func (s *Subscription) next(ctx context.Context) (Message, error) {
	for {
		m, gaps, ok, err := s.takeOne()
		s.tell(gaps, 1)
		if ok || err != nil {
			return m, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return Message{}, &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "read a subscription", Message: "the context is over", Err: ctx.Err()}
		}
	}
}

func (s *Subscription) takeOne() (m Message, gaps []placedGap, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && s.over != nil && len(s.waiting) == 0 {
		s.err = s.over
		s.ended.Store(true)
	}
	if s.err != nil || len(s.waiting) == 0 {
		return Message{}, s.due(0, true), false, s.err
	}
	w := s.waiting[0]
	s.waiting[0] = waiting{}
	s.waiting = s.waiting[1:]
	s.bytes -= w.size()
	return s.message(&w), s.due(1, false), true, nil
}
