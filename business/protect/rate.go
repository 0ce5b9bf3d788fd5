package protect

import (
	"sync"
	"time"
)

// Rate is how much is allowed: so much a second, and so much at once. A PerSecond
// of 0 or less is no limit; a Burst of 0 is one second's worth, at least 1.
type Rate struct {
	PerSecond float64
	Burst     float64
}

func (r Rate) burst() float64 {
	if r.Burst > 0 {
		return r.Burst
	}
	return max(1, r.PerSecond)
}

// RateLimiter allows a rate: a token bucket, that begins full. Over any time t it
// allows at most PerSecond x t + Burst, and that much when there is demand. A nil
// RateLimiter allows all. Make it with NewRateLimiter. Safe for concurrent use.
type RateLimiter struct {
	mu     sync.Mutex
	rate   Rate
	tokens float64
	last   time.Time
}

// NewRateLimiter makes a RateLimiter.
func NewRateLimiter(r Rate, now time.Time) *RateLimiter {
	return &RateLimiter{rate: r, tokens: r.burst(), last: now}
}

// fill puts in what time has brought. It is called with the lock held.
func (l *RateLimiter) fill(now time.Time) {
	if d := now.Sub(l.last); d > 0 {
		l.tokens = min(l.rate.burst(), l.tokens+d.Seconds()*l.rate.PerSecond)
		l.last = now
	}
}

// after is when there will be so much. It is called with the lock held.
func (l *RateLimiter) after(n float64) time.Duration {
	return time.Duration((n-l.tokens)/l.rate.PerSecond*float64(time.Second)) + 1
}

// Allow takes n, which is 1 for a request. When there is not so much, nothing is
// taken, and retryAfter says when there will be. More than Burst is never there: it
// is allowed when the bucket is full, and makes a debt.
func (l *RateLimiter) Allow(n float64, now time.Time) (retryAfter time.Duration, ok bool) {
	if l == nil {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate.PerSecond <= 0 {
		return 0, true
	}
	l.fill(now)
	if need := min(n, l.rate.burst()); l.tokens < need-rounding {
		return l.after(need), false
	}
	l.tokens -= n
	return 0, true
}

// rounding is what sums of floating-point numbers may lack.
const rounding = 1e-6

// Spend takes n in any case, such as bytes that have been received already, and
// says how long to wait before more is taken; 0: not at all.
func (l *RateLimiter) Spend(n float64, now time.Time) (wait time.Duration) {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate.PerSecond <= 0 {
		return 0
	}
	l.fill(now)
	if l.tokens -= n; l.tokens >= 0 {
		return 0
	}
	return l.after(0)
}

// Set changes the rate. What has been saved up stays, up to the new Burst.
func (l *RateLimiter) Set(r Rate, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate.PerSecond > 0 {
		l.fill(now)
		l.tokens = min(l.tokens, r.burst())
	} else {
		l.tokens = r.burst()
	}
	l.rate, l.last = r, now
}

// full says whether forgetting the limiter would change nothing.
func (l *RateLimiter) full(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate.PerSecond <= 0 {
		return true
	}
	l.fill(now)
	return l.tokens >= l.rate.burst()
}
