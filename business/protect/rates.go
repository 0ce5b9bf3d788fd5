package protect

import (
	"container/list"
	"sync"
	"time"
)

// RateLimiters keeps a RateLimiter for each identity, for a bounded number of them.
// An identity is forgotten when another needs its room and its bucket is full, so
// that forgetting it gives nothing away. When no bucket is full, further identities
// share one: who comes with many names gets no more than with one. Make it with
// NewRateLimiters. Safe for concurrent use.
type RateLimiters struct {
	of   func(identity string) Rate
	most int

	mu     sync.Mutex
	known  map[string]*list.Element // of *known
	used   list.List                // the last one used is in front
	shared *RateLimiter             // of identities that there is no room for
}

type known struct {
	identity string
	limiter  *RateLimiter
}

// looks is how many of the identities that were not used for the longest time are
// looked at for one to forget.
const looks = 4

// NewRateLimiters makes RateLimiters of at most so many identities; 0 stands for
// 10,000. of says the rate of an identity; it is asked again after Reset. The rate of
// those that there is no room for is that of the empty identity.
func NewRateLimiters(most int, of func(identity string) Rate, now time.Time) *RateLimiters {
	return &RateLimiters{
		of: of, most: or(max(0, most), 10_000),
		known: make(map[string]*list.Element), shared: NewRateLimiter(of(""), now),
	}
}

// Of returns an identity's limiter. It is to be used at once, not kept.
func (l *RateLimiters) Of(identity string, now time.Time) *RateLimiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.known[identity]; e != nil {
		l.used.MoveToFront(e)
		return e.Value.(*known).limiter
	}
	if len(l.known) >= l.most && !l.forget(now) {
		return l.shared
	}
	k := &known{identity: identity, limiter: NewRateLimiter(l.of(identity), now)}
	l.known[identity] = l.used.PushFront(k)
	return k.limiter
}

// forget makes room. It is called with the lock held.
func (l *RateLimiters) forget(now time.Time) bool {
	e := l.used.Back()
	for range looks {
		if e == nil {
			return false
		}
		if k := e.Value.(*known); k.limiter.full(now) {
			l.used.Remove(e)
			delete(l.known, k.identity)
			return true
		}
		e = e.Prev()
	}
	return false
}

// Len is how many identities are known.
func (l *RateLimiters) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.known)
}

// Reset asks for every identity's rate again, after a change of settings.
func (l *RateLimiters) Reset(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for identity, e := range l.known {
		e.Value.(*known).limiter.Set(l.of(identity), now)
	}
	l.shared.Set(l.of(""), now)
}
