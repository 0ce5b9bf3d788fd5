package server

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/lv"
	"trefoil/concrete/message"
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

// acked ends an entry that is dealt with.
func (s *TopicServer) acked(k *consumer, h *handed) {
	delete(k.excused, h.Entry().Offset)
	s.settle(k, func(ctx context.Context, h *handed) error { return h.Ack(ctx) }, h)
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
	k.bytes -= h.size
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

// consumedPush is the push of an entry to a member.
func consumedPush(h *handed, e *abstract.LogEntry, tag string, number uint64) []byte {
	var room [192]byte
	members := message.AppendMember(appendPlace(room[:0], h.m, e), "sub", tag)
	members = strconv.AppendUint(append(members, `,"delivery":`...), number, 10)
	if h.delivered > 1 {
		members = strconv.AppendInt(append(members, `,"delivered":`...), int64(h.delivered), 10)
	}
	return lv.Extend(make([]byte, 0, len(e.Data)+len(members)+16), h.m.Frame(), members)
}
