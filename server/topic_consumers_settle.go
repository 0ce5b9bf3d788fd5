package server

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"trefoil/abstract"
)

// settling is what is still to be said to a log about entries. It is said off the
// turn, several at a time, as each waits for the log.
type settling struct {
	most int // at a time

	mu      sync.Mutex
	waiting []func(context.Context)
	running int
}

// run does something soon.
func (q *settling) run(s *TopicServer, do func(context.Context)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, do)
	if q.running < q.most {
		q.running++
		s.ep.errands.Go(q.runAll)
	}
}

func (q *settling) runAll() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.running--
			q.mu.Unlock()
			return
		}
		do := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		do(ctx)
	}
}

// len is how much waits.
func (q *settling) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// acking are entries that the log is to know acknowledged. One goroutine at a time tells
// it of all that have gathered; there is none while nothing waits. It is behind the index's
// lock.
type acking struct {
	waiting []*handed
	running bool
}

// acked ends an entry that is dealt with. It is called with the index's lock held.
func (s *TopicServer) acked(k *consumer, h *handed) {
	if len(k.excused) > 0 {
		delete(k.excused, h.Entry().Offset)
	}
	a := &k.acks
	a.waiting = append(a.waiting, h)
	if !a.running {
		a.running = true
		s.ep.errands.Go(func() { s.ackAll(k) })
	}
}

// ackAll acknowledges until nothing waits. What fails is delivered again by the log itself.
func (s *TopicServer) ackAll(k *consumer) {
	var list []abstract.LogDelivery
	for told := s.takeAcks(k, nil); len(told) > 0; told = s.takeAcks(k, told) {
		list = list[:0]
		for _, h := range told {
			list = append(list, h.LogDelivery)
		}
		if err := k.log.Ack(context.Background(), list...); err != nil {
			s.ep.logs.topic.Debug("entries not acknowledged; they are delivered again", "topic", k.feed.name, "consumer", k.name, "entries", len(list), "err", err)
		}
	}
}

// takeAcks counts out those that the log knows of, and takes the next ones.
func (s *TopicServer) takeAcks(k *consumer, told []*handed) []*handed {
	s.index.Lock()
	defer s.index.Unlock()
	s.releasedAll(k, told)
	a := &k.acks
	next := a.waiting
	clear(told)
	a.waiting, a.running = told[:0], len(next) > 0
	return next
}

// settle ends entries at the log, one after the other. What fails is delivered again by the
// log itself, later. It is called with the index's lock held, as giveBack and bury are.
func (s *TopicServer) settle(k *consumer, say func(context.Context, *handed) error, list ...*handed) {
	k.settled.run(s, func(ctx context.Context) {
		for _, h := range list {
			if err := say(ctx, h); err != nil {
				s.ep.logs.topic.Debug("entry not settled; it is delivered again", "topic", k.feed.name, "consumer", k.name, "err", err)
			}
			s.released(k, h)
		}
	})
}

// released counts an entry out.
func (s *TopicServer) released(k *consumer, h *handed) {
	s.index.Lock()
	defer s.index.Unlock()
	s.releasedAll(k, []*handed{h})
}

// releasedAll counts entries out. It is called with the index's lock held.
func (s *TopicServer) releasedAll(k *consumer, list []*handed) {
	if len(list) == 0 {
		return
	}
	for _, h := range list {
		k.bytes -= h.size
	}
	k.wake()
	s.leftBehind(k)
}

// giveBack gives an entry back to the log, to be delivered again after a rest. One that was delivered as often
// as the topic allows becomes a dead letter instead, for that reason. excused: this
// delivery does not count, as nobody had a try at the message.
func (s *TopicServer) giveBack(k *consumer, h *handed, rest time.Duration, why string, excused bool) {
	if !s.spent(k, h, why, excused) {
		s.rest(k, rest, h)
	}
}

// giveBackAll gives entries back that are not spent, to be delivered again in the topic's order.
func (s *TopicServer) giveBackAll(k *consumer, list []*handed) {
	if len(list) > 0 {
		sortHanded(list)
		s.rest(k, 0, list...)
	}
}

// unspent leaves those of a list that are not spent.
func (s *TopicServer) unspent(k *consumer, list []*handed, why string, excused bool) []*handed {
	sortHanded(list) // dead letters are buried in order, too
	return slices.DeleteFunc(list, func(h *handed) bool { return s.spent(k, h, why, excused) })
}

func sortHanded(list []*handed) {
	slices.SortFunc(list, func(a, b *handed) int { return cmp.Compare(a.Entry().Offset, b.Entry().Offset) })
}

// spent buries an entry that was delivered as often as the topic allows, and reports that.
func (s *TopicServer) spent(k *consumer, h *handed, why string, excused bool) bool {
	switch {
	case excused && len(k.excused) < maxExcused:
		k.excused[h.Entry().Offset]++
	case !excused && h.delivered >= maxDeliver(&k.feed.settings):
		s.bury(k, h, why)
		return true
	}
	return false
}

// rest tells the log when to deliver entries again.
func (s *TopicServer) rest(k *consumer, rest time.Duration, list ...*handed) {
	s.settle(k, func(ctx context.Context, h *handed) error {
		if k.ctx.Err() != nil { // nobody is there: a last fetch must not bring it again
			<-k.done
		}
		return h.Nack(ctx, rest)
	}, list...)
}

// failedRest is how long a message rests that has failed for the nth time: 1 s, doubling
// up to 1 min.
func failedRest(times int) time.Duration {
	return min(time.Second<<min(max(0, times-1), 10), longestRest)
}

const longestRest = time.Minute
