package protect

import (
	"sync/atomic"
	"time"
)

// Budget bounds extra calls, such as retries, by a part of the calls: every call
// puts a part of a token into a bucket, and so does time; an extra call takes one. When
// a service is down, callers that retry three times would make four times the load
// just when it can be borne least, and through a chain of three services 64 times;
// with a Budget it is 1.2 and 1.7 times. The scheme is Finagle's RetryBudget; gRPC's proposal A6
// throttles retries for the same reason. Make it with NewBudget, one for each
// service that is called. Safe for concurrent use.
type Budget struct {
	base      time.Time
	perCall   int64 // in parts of a token
	perSecond float64
	most      int64
	tokens    atomic.Int64
	last      atomic.Int64 // ns since base; what time has put in until then is in
}

// BudgetConfig says how much a Budget allows. The zero value is for retries.
type BudgetConfig struct {
	Ratio     float64 // tokens for each call; default 0.2, negative: none
	PerSecond float64 // tokens for each second, so that those who call seldom may retry at all; default 10, negative: none
	Burst     int     // tokens saved up at most; default 100
}

// token is one token in the parts that are counted.
const token = 1_000_000_000

// NewBudget makes a Budget that holds what one second puts in.
func NewBudget(cfg BudgetConfig, now time.Time) *Budget {
	b := &Budget{
		base:      now,
		perCall:   int64(max(0, or(cfg.Ratio, 0.2)) * token),
		perSecond: max(0, or(cfg.PerSecond, 10)),
		most:      int64(or(max(0, cfg.Burst), 100)) * token,
	}
	b.tokens.Store(min(b.most, int64(b.perSecond*token)))
	return b
}

// Call says that a call is made: a first attempt.
func (b *Budget) Call() { b.put(b.perCall) }

func (b *Budget) put(parts int64) {
	for {
		have := b.tokens.Load()
		if have >= b.most || parts == 0 || b.tokens.CompareAndSwap(have, min(b.most, have+parts)) {
			return
		}
	}
}

// Spend asks for one extra call. False: it must not be made.
func (b *Budget) Spend(now time.Time) bool {
	at, last := int64(now.Sub(b.base)), b.last.Load()
	if at > last && b.last.CompareAndSwap(last, at) {
		b.put(int64(float64(at-last) * b.perSecond)) // nanoseconds, and billionths of a token
	}
	for {
		have := b.tokens.Load()
		if have < token {
			return false
		}
		if b.tokens.CompareAndSwap(have, have-token) {
			return true
		}
	}
}

// Refund gives a token back for an extra call that was not made after all.
func (b *Budget) Refund() { b.put(token) }

// Left is how many extra calls are allowed at once, without what time puts in.
func (b *Budget) Left() int { return int(b.tokens.Load() / token) }
