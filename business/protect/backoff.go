package protect

import "time"

// Backoff says how long to pause before a retry: a random time up to a limit that
// doubles each time (full jitter, Brooker, "Exponential Backoff and Jitter", 2015):
// callers that failed together do not come back together. The zero value is the
// default. Safe for concurrent use.
type Backoff struct {
	First time.Duration // the first limit; default 50 ms
	Most  time.Duration // the last; default 5 s
	Rand  Rand          // nil is the usual source of random numbers
}

// Pause is the time to wait before a retry; the first one is number 0. When the
// server has said how long to stay away, that comes first: atLeast, else 0.
func (b Backoff) Pause(retry int, atLeast time.Duration) time.Duration {
	return max(0, atLeast) + b.Rand.upTo(b.limit(retry))
}

func (b Backoff) limit(retry int) time.Duration {
	limit, most := or(b.First, 50*time.Millisecond), or(b.Most, 5*time.Second)
	for ; retry > 0 && limit < most; retry-- {
		limit *= 2
	}
	return min(limit, most)
}
