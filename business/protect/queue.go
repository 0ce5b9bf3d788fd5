package protect

import (
	"sync"
	"time"
)

// Queue holds requests that wait for a handler, and sheds those that have waited
// too long, so that under overload the handlers work on requests whose callers
// are still there. It is CoDel for requests (Nichols, Jacobson, "Controlling Queue
// Delay", 2012) in the form of Maurer's "Fail at Scale" (2015): a queue that was empty
// within the last Interval takes a burst, and requests may wait that long; one
// that was not is overloaded: a request may wait Target only, and the newest is
// handled first, as the others are lost already. Requests whose deadline has
// passed are shed in any case.
//
// A request that is shed is given to the function that NewQueue was given, by
// whoever called Push or Pop, without a lock held, and is to be refused. Safe for
// concurrent use.
type Queue[T any] struct {
	cfg  QueueConfig
	shed func(T, Reason)

	mu    sync.Mutex
	ring  []waiting[T]
	head  int // the oldest
	count int
	empty time.Time // when the queue was empty last, before what is in it now
}

// QueueConfig says how a Queue works. The zero value is the default.
type QueueConfig struct {
	Most     int           // requests that wait; default 16,384
	Target   time.Duration // how long a request may wait under overload; default 5 ms
	Interval time.Duration // how long in a burst, and how long the queue is not empty before that is overload; default 100 ms
}

// Reason is why a request was shed.
type Reason uint8

// The reasons.
const (
	Waited  Reason = iota // longer than is allowed
	Expired               // past its deadline
	Crowded               // the queue was full, and it was the oldest
)

// String returns the reason in words.
func (r Reason) String() string {
	return [...]string{"waited too long", "past its deadline", "the queue is full"}[r]
}

type waiting[T any] struct {
	item     T
	since    time.Time
	deadline time.Time
}

// kept is how many places an empty queue keeps.
const kept = 64

// NewQueue makes a Queue. shed must not be nil.
func NewQueue[T any](cfg QueueConfig, shed func(T, Reason), now time.Time) *Queue[T] {
	cfg.Most = or(max(0, cfg.Most), 16_384)
	cfg.Target = or(max(0, cfg.Target), 5*time.Millisecond)
	cfg.Interval = or(max(0, cfg.Interval), 100*time.Millisecond)
	return &Queue[T]{cfg: cfg, shed: shed, ring: make([]waiting[T], min(kept, cfg.Most)), empty: now}
}

// Len is how many requests wait.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// Overloaded says whether the queue has not been empty for a while.
func (q *Queue[T]) Overloaded(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.overloaded(now)
}

func (q *Queue[T]) overloaded(now time.Time) bool {
	return q.count > 0 && now.Sub(q.empty) > q.cfg.Interval
}

// patience is how long a request may wait. It is called with the lock held.
func (q *Queue[T]) patience(now time.Time) time.Duration {
	if q.overloaded(now) {
		return q.cfg.Target
	}
	return q.cfg.Interval
}

// Push adds a request; a zero deadline is none. It always gets in: what is shed, if
// the queue is full, is the oldest, which is the least likely to be handled in time.
func (q *Queue[T]) Push(item T, deadline, now time.Time) {
	q.mu.Lock()
	if q.count == 0 {
		q.empty = now
	}
	old, crowded := waiting[T]{}, q.count == q.cfg.Most
	if crowded {
		old = q.oldest()
	}
	q.add(waiting[T]{item, now, deadline})
	stale := q.stale(now)
	q.mu.Unlock()
	if crowded {
		q.shed(old.item, Crowded)
	}
	if stale {
		q.Shed(now)
	}
}

// shedStale sheds the oldest request if it has waited too long.
func (q *Queue[T]) shedStale(now time.Time) bool {
	q.mu.Lock()
	if !q.stale(now) {
		q.mu.Unlock()
		return false
	}
	w := q.oldest()
	q.rest()
	q.mu.Unlock()
	q.shed(w.item, Waited)
	return true
}

// Shed sheds what has waited too long. Push and Pop do so too; call it now and then
// where nothing may be pushed or popped for long.
func (q *Queue[T]) Shed(now time.Time) {
	for q.shedStale(now) {
	}
}

// Pop takes the request that is to be handled next. Not ok: none waits.
func (q *Queue[T]) Pop(now time.Time) (item T, ok bool) {
	for {
		w, reason, got := q.take(now)
		switch {
		case !got:
			return item, false
		case reason == none:
			return w.item, true
		}
		q.shed(w.item, reason)
	}
}

// none is why a request is not shed.
const none Reason = 255

// take takes a request, to be handled or to be shed.
func (q *Queue[T]) take(now time.Time) (w waiting[T], reason Reason, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count == 0 {
		return w, none, false
	}
	reason = none
	switch {
	case q.stale(now):
		w, reason = q.oldest(), Waited
	case q.overloaded(now):
		w = q.newest()
	default:
		w = q.oldest()
	}
	q.rest()
	if reason == none && !w.deadline.IsZero() && !now.Before(w.deadline) {
		reason = Expired
	}
	return w, reason, true
}

// stale says whether the oldest request has waited too long. It is called with the
// lock held.
func (q *Queue[T]) stale(now time.Time) bool {
	return q.count > 0 && now.Sub(q.ring[q.head].since) > q.patience(now)
}

// rest gives a burst's memory back. It is called with the lock held.
func (q *Queue[T]) rest() {
	if q.count == 0 && len(q.ring) > kept {
		q.ring, q.head = make([]waiting[T], kept), 0
	}
}

// The rest is a ring, and is called with the lock held.

func (q *Queue[T]) add(w waiting[T]) {
	if q.count == len(q.ring) {
		grown := make([]waiting[T], min(2*len(q.ring), q.cfg.Most))
		for i := range q.count {
			grown[i] = q.ring[(q.head+i)%len(q.ring)]
		}
		q.ring, q.head = grown, 0
	}
	q.ring[(q.head+q.count)%len(q.ring)] = w
	q.count++
}

func (q *Queue[T]) oldest() waiting[T] {
	w := q.ring[q.head]
	q.ring[q.head] = waiting[T]{}
	q.head = (q.head + 1) % len(q.ring)
	q.count--
	return w
}

func (q *Queue[T]) newest() waiting[T] {
	q.count--
	i := (q.head + q.count) % len(q.ring)
	w := q.ring[i]
	q.ring[i] = waiting[T]{}
	return w
}
