package server

import (
	"container/heap"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"trefoil/abstract"
)

// agenda is what of a topic is to be published later. Times are those of the wall clock: a
// message for three o'clock is one for three o'clock, however the clock gets there.
type agenda struct {
	opening sync.Mutex   // one at a time opens the log
	log     abstract.Log // keeps the messages; nil: not opened yet
	dedup   time.Duration

	mu      sync.Mutex
	heap    appointments
	now     []appointment // taken out of the heap, as they are being published
	counted tally         // messages, those included that are on their way to the log
	running bool          // somebody attends to the heap
	ended   bool          // the topic was removed
	earlier chan struct{}
}

// appointment is a message with its time.
type appointment struct {
	due    int64 // Unix milliseconds
	offset uint64
	size   int32 // what it counts
	tried  bool  // nobody knows whether it was published
}

func at(due time.Time, offset uint64, size int) appointment {
	return appointment{due: due.UnixMilli(), offset: offset, size: int32(size)}
}

// stampOf tells an entry from any other, also should a damaged log use its offset again.
func stampOf(e *abstract.LogEntry) string { return strconv.FormatInt(e.Time.UnixNano(), 36) }

const (
	// agendaCheck is how often the clock is looked at, which may have been set.
	agendaCheck = time.Minute
	// agendaBatch is how many messages are published before they are deleted from the log
	// of those for later.
	agendaBatch = 256
	// How long until something is tried again that failed.
	agendaRetry     = time.Second
	agendaRetryMost = 30 * time.Second
)

// appointments is a heap: what is due first, and was published first.
type appointments []appointment

func (h appointments) Len() int { return len(h) }
func (h appointments) Less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].offset < h[j].offset
}
func (h appointments) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *appointments) Push(x any)   { *h = append(*h, x.(appointment)) }
func (h *appointments) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// enter adds messages that were counted already, and reports whether nobody attends to
// them: then the caller does.
func (a *agenda) enter(list ...appointment) (alone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return false
	}
	for _, ap := range list {
		heap.Push(&a.heap, ap)
	}
	if a.earlier == nil {
		a.earlier = make(chan struct{}, 1)
	}
	select {
	case a.earlier <- struct{}{}:
	default:
	}
	alone = !a.running && len(a.heap) > 0
	a.running = a.running || alone
	return alone
}

// holds reports whether a message waits, or is just being published.
func (a *agenda) holds(offset uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	is := func(ap appointment) bool { return ap.offset == offset }
	return slices.ContainsFunc(a.heap, is) || slices.ContainsFunc(a.now, is)
}

// takeBack takes a message out that waits, and reports whether it did. One that is just
// being published does not, and neither does one that may have been.
func (a *agenda) takeBack(offset uint64) (ap appointment, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.heap, func(ap appointment) bool { return ap.offset == offset })
	if i < 0 || a.heap[i].tried {
		return ap, false
	}
	return heap.Remove(&a.heap, i).(appointment), true
}

// end forgets everything: the topic was removed.
func (a *agenda) end(total *backlog) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended, a.heap = true, nil
	total.add(tally{-a.counted.messages, -a.counted.bytes})
	a.counted = tally{}
	if a.earlier != nil {
		select {
		case a.earlier <- struct{}{}:
		default:
		}
	}
}

// next returns what is due, or how long it is until something is. Nothing of both: there is
// nothing any more, and nobody attends from now on.
func (a *agenda) next(now int64) (due []appointment, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.heap) > 0 && a.heap[0].due <= now && len(due) < agendaBatch {
		due = append(due, heap.Pop(&a.heap).(appointment))
	}
	if a.now = due; len(due) > 0 {
		return due, 0
	}
	if len(a.heap) == 0 {
		a.running, a.heap = false, nil
		return nil, 0
	}
	return nil, min(time.Duration(a.heap[0].due-now)*time.Millisecond, agendaCheck)
}

// attend publishes what a topic has for later until there is nothing any more, or the
// server shuts down. alone: nobody does yet.
func (s *TopicServer) attend(f *feed, alone bool) {
	if alone {
		s.ep.errands.Go(func() { s.attendTo(f) })
	}
}

func (s *TopicServer) attendTo(f *feed) {
	a, retry := &f.later, agendaRetry
	for !s.ep.draining() {
		due, wait := a.next(time.Now().UnixMilli())
		if len(due) == 0 && wait == 0 {
			return
		}
		if len(due) > 0 {
			if s.keepAppointments(f, due) {
				retry = agendaRetry
				continue
			}
			wait, retry = retry, min(2*retry, agendaRetryMost)
		}
		wake := a.earlier
		if len(due) > 0 { // what is new does not make it succeed
			wake = nil
		}
		if !s.idle(wait, wake) {
			return
		}
	}
}

// idle waits for a while, or until somebody wakes it. It returns false when the server
// shuts down.
func (s *TopicServer) idle(d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-s.ep.life.Done():
		return false
	}
	return true
}

// keepAppointments publishes messages and deletes them from the log of those for later. It
// returns false when it is to be tried again in a while.
func (s *TopicServer) keepAppointments(f *feed, due []appointment) bool {
	a := &f.later
	over, left, err := s.publishDue(f, due)
	offsets := make([]uint64, len(over))
	for i, ap := range over {
		offsets[i] = ap.offset
		s.uncount(a, int(ap.size))
	}
	s.strike(f, offsets)
	if abstract.CodeOf(err) == abstract.TopicNotFound { // the agenda ends with the topic
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = nil
	for _, ap := range left {
		if !a.ended {
			heap.Push(&a.heap, ap)
		}
	}
	if err != nil {
		s.ep.logs.topic.Warn("messages that are due could not be published; they are tried again", "topic", f.name, "messages", len(left), "err", err)
	}
	return err == nil
}

// strike deletes messages from the log of those for later, and tries until it can.
func (s *TopicServer) strike(f *feed, over []uint64) {
	for retry := agendaRetry; len(over) > 0; retry = min(2*retry, agendaRetryMost) {
		err := f.later.log.Delete(context.Background(), over...)
		if err == nil || abstract.CodeOf(err) == abstract.TopicNotFound {
			return
		}
		s.ep.logs.topic.Warn("messages that were published could not be deleted from those for later; it is tried again", "topic", f.name, "messages", len(over), "err", err)
		if !s.idle(retry, nil) {
			return // they are found when the broker starts
		}
	}
}
