package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// On a lossless topic a publisher waits for its subscribers: outside of every lock, and
// not longer than losslessWait. What else its connection asks of topics comes behind
// that in order; its calls, its pings and other publishers' topics do not.

// losslessWait is how long a publish waits for subscribers at most. Publishers give up
// earlier, by default.
const losslessWait = 30 * time.Second

// roomSeldom is how often somebody looks whether there is room who has begun with
// roomEvery, and waits ever longer in between.
const roomSeldom = 100 * time.Millisecond

// extended is how much longer a push is than its publish, at most.
const extended = 64 + 6*message.MaxTopicID

// lock takes the topic's order. On a lossless topic it waits until every subscriber has
// room for size more bytes: at most as long as a publisher waits for its answer.
func (f *feed) lock(t *turn, s *TopicServer, size int) error {
	f.order.Lock()
	full, err := s.fullest(f, size)
	if full == nil {
		if err != nil {
			f.order.Unlock()
		}
		return err
	}
	ctx, cancel := context.WithTimeout(t.conn.ctx, losslessWait)
	defer cancel()
	for pause := roomEvery; err == nil && full != nil; pause = min(2*pause, roomSeldom) {
		f.order.Unlock() // whoever holds it up must be able to leave
		err = full.await(ctx, pause)
		f.order.Lock()
		if err == nil {
			full, err = s.fullest(f, size)
		}
	}
	if err != nil {
		f.order.Unlock()
	}
	return err
}

// holdup is what a publisher waits for: a subscriber, or a queue group.
type holdup struct {
	to    *subscriber
	group *group // nil: the subscriber itself
	need  int    // bytes
	over  <-chan struct{}
}

// String says who it is.
func (h *holdup) String() string {
	if h.group != nil {
		return "queue group " + h.group.name
	}
	return "subscriber " + h.to.conn.name()
}

// await waits until there may be room. ctx is the publisher's.
func (h *holdup) await(ctx context.Context, pause time.Duration) error {
	if h.group == nil && h.to.Room() < h.need {
		h.to.awaitRoom(ctx, h.need, h.over)
	} else { // in its group's queue, or behind what the topic has kept
		sleep(ctx, pause)
	}
	switch {
	case ctx.Err() == nil:
		return nil
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return abstract.Errorf(abstract.Overloaded, "%s of the topic does not read, and the topic is lossless; try again, or change the topic's policy", h)
	}
	return abstract.Errorf(abstract.Disconnected, "the publisher is gone")
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// fullest returns who has no room; nil when everybody has, and on a topic that is not
// lossless. It is called with the topic's order held.
func (s *TopicServer) fullest(f *feed, size int) (*holdup, error) {
	s.index.Lock()
	defer s.index.Unlock()
	subs, err := s.topics.Publish(f.name)
	if err == nil && f.removed {
		return nil, errRemoved(f.name)
	}
	if err != nil || f.settings.Slow != abstract.SlowLossless {
		return nil, err
	}
	for _, sub := range s.topics.Others(slices.Clone(subs), f.name) {
		if h := s.holdsUp(f, sub.Lane.(*subscriber), size); h != nil {
			if f.lossless == nil {
				f.lossless = make(chan struct{})
			}
			h.over = f.lossless
			return h, nil
		}
	}
	return nil, nil
}

// holdsUp returns what a publisher waits for because of one subscriber.
func (s *TopicServer) holdsUp(f *feed, to *subscriber, size int) *holdup {
	need := size + extended
	if to.legacy {
		need += size // as a string it may take twice the room
	}
	_, behind := to.behind[f]
	switch {
	case !f.admits(to.conn):
		return nil
	case to.group != nil:
		if to.group.queue.Fits(size+groupedCost) && s.grouped+int64(size+groupedCost) <= s.ep.cfg.topicMemory {
			return nil
		}
		return &holdup{to: to, group: to.group}
	case behind, to.Room() < need:
		return &holdup{to: to, need: need}
	}
	return nil
}

func errRemoved(name string) *abstract.Error {
	return abstract.Errorf(abstract.TopicNotFound, "topic %q was removed", name)
}

// awaitRoom waits until the subscriber's queue takes n bytes without dropping any. It
// returns false when ctx has ended, the subscription, its connection, or what over, which
// may be nil, stands for.
func (to *subscriber) awaitRoom(ctx context.Context, n int, over <-chan struct{}) bool {
	var room chan struct{}
	for pause := roomEvery; to.Room() < n; pause = min(2*pause, roomSeldom) {
		to.conn.Flush()
		if room == nil { // once: half of the queue may be free, and not enough for n
			room = make(chan struct{})
			to.OnRoom(func() { close(room) })
		}
		timer := time.NewTimer(pause) // other queues of the connection may be what is full
		select {
		case <-room:
			if to.Room() < n {
				sleep(ctx, pause)
			}
		case <-timer.C:
		case <-to.conn.ctx.Done():
		case <-ctx.Done():
		case <-over:
			timer.Stop()
			return false
		}
		timer.Stop()
		if to.ended.Load() || to.conn.ctx.Err() != nil || ctx.Err() != nil {
			return false
		}
	}
	return true
}
