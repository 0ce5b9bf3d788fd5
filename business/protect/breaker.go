package protect

import (
	"sync"
	"sync/atomic"
	"time"
)

// Breaker stops calls to one provider that fails, so that callers do not wait for
// it and it has time to recover (Nygard, "Release It!", 2007). Closed, all calls
// go; after too many failures it opens, and none do; after some seconds it is half
// open, and a few go on trial: when they are answered it closes, when one fails it
// opens again. The zero value and a nil Breaker are off. Make it with NewBreaker, one for
// each provider. Safe for concurrent use.
type Breaker struct {
	cfg   BreakerConfig
	base  time.Time
	state atomic.Int32 // BreakerState; changed with the lock held

	mu      sync.Mutex
	era     uint32 // counts changes of state: what began in another one does not count
	row     int    // failures one after the other
	spans   [spans]span
	opened  int64 // ns since base
	running int   // calls on trial
	begun   int64 // the last of them
	good    int   // calls on trial that were answered
}

// spans is how many parts the window is counted in.
const spans = 10

type span struct {
	number    int64 // which one since base
	good, bad int
}

// BreakerConfig says how a Breaker works. The zero value is off.
type BreakerConfig struct {
	On bool // the others count only then

	InRow    int           // it opens after so many failures one after the other; default 5, negative: never for that
	Rate     float64       // and when so large a part of the calls in Window failed; default 0.5
	MinCalls int           // of at least so many; default 20
	Window   time.Duration // default 10 s
	OpenFor  time.Duration // how long it stays open; default 5 s
	Trials   int           // answered calls on trial that close it, and how many may be under way; default 3
}

// BreakerState is what a Breaker does with calls.
type BreakerState int32

// The states.
const (
	Closed BreakerState = iota
	Open
	HalfOpen
)

// String returns "closed", "open" or "half-open".
func (s BreakerState) String() string { return [...]string{"closed", "open", "half-open"}[s] }

// Verdict is what a call's end says of the provider.
type Verdict uint8

// The verdicts.
const (
	Good    Verdict = iota // it answered
	Bad                    // it did not, or not in time
	Nothing                // the caller gave up, or the call was not made
)

// Permit allows one call. Give it back with Done.
type Permit struct{ era uint32 }

// NewBreaker makes a Breaker that is closed.
func NewBreaker(cfg BreakerConfig, now time.Time) *Breaker {
	cfg.InRow = or(cfg.InRow, 5)
	cfg.Rate = or(max(0, cfg.Rate), 0.5)
	cfg.MinCalls = or(max(0, cfg.MinCalls), 20)
	cfg.Window = max(spans, or(max(0, cfg.Window), 10*time.Second))
	cfg.OpenFor = or(max(0, cfg.OpenFor), 5*time.Second)
	cfg.Trials = or(max(0, cfg.Trials), 3)
	return &Breaker{cfg: cfg, base: now}
}

// State returns what the Breaker does now. One whose time to be open is over says
// Open until it is asked for a call.
func (b *Breaker) State() BreakerState {
	if b == nil {
		return Closed
	}
	return BreakerState(b.state.Load())
}

// Ready says whether Allow would allow a call, without taking a place on trial: for
// those who look for a provider.
func (b *Breaker) Ready(now time.Time) bool {
	if b == nil || b.State() == Closed {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.has(int64(now.Sub(b.base)))
}

// has says whether there is a place. It is called with the lock held.
func (b *Breaker) has(at int64) bool {
	switch b.State() {
	case Open:
		return at-b.opened >= int64(b.cfg.OpenFor)
	case HalfOpen:
		return b.running+b.good < b.cfg.Trials || at-b.begun >= int64(b.cfg.OpenFor)
	}
	return true
}

// Again is when Allow will allow a call; the zero time when it does now, as far as
// is known.
func (b *Breaker) Again(now time.Time) time.Time {
	if b == nil || b.State() == Closed {
		return time.Time{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.has(int64(now.Sub(b.base))) {
		return time.Time{}
	}
	since := b.opened
	if b.State() == HalfOpen {
		since = b.begun
	}
	return b.base.Add(time.Duration(since) + b.cfg.OpenFor)
}

// Allow asks for a call. Not ok: it must not be made. Else Done must be told of
// its end.
func (b *Breaker) Allow(now time.Time) (p Permit, ok bool) {
	if b == nil || !b.cfg.On {
		return Permit{}, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := int64(now.Sub(b.base))
	if !b.has(at) {
		return Permit{}, false
	}
	switch b.State() {
	case Open:
		b.change(HalfOpen)
	case HalfOpen:
		if b.running+b.good >= b.cfg.Trials { // those on trial do not end: they count no more
			b.change(HalfOpen)
		}
	}
	if b.State() == HalfOpen {
		b.running++
		b.begun = at
	}
	return Permit{b.era}, true
}

// Done says how an allowed call went.
func (b *Breaker) Done(p Permit, now time.Time, v Verdict) {
	if b == nil || !b.cfg.On {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.era != b.era {
		return
	}
	at := int64(now.Sub(b.base))
	if b.State() == HalfOpen {
		b.tried(at, v)
		return
	}
	switch v {
	case Good:
		b.row = 0
		b.span(at).good++
	case Bad:
		b.row++
		b.span(at).bad++
		if b.tooBad(at) {
			b.open(at)
		}
	}
}

// tried takes the end of a call on trial. It is called with the lock held.
func (b *Breaker) tried(at int64, v Verdict) {
	b.running--
	switch v {
	case Good:
		if b.good++; b.good >= b.cfg.Trials {
			b.change(Closed)
		}
	case Bad:
		b.open(at)
	}
}

func (b *Breaker) open(at int64) {
	b.change(Open)
	b.opened = at
}

// change begins another state, with nothing counted.
func (b *Breaker) change(s BreakerState) {
	b.state.Store(int32(s))
	b.era++
	b.row, b.running, b.good = 0, 0, 0
	b.spans = [spans]span{}
}

// span is the part of the window that is now.
func (b *Breaker) span(at int64) *span {
	number := at / (int64(b.cfg.Window) / spans)
	s := &b.spans[uint64(number)%spans]
	if s.number != number {
		*s = span{number: number}
	}
	return s
}

// tooBad says whether there were too many failures.
func (b *Breaker) tooBad(at int64) bool {
	if b.cfg.InRow > 0 && b.row >= b.cfg.InRow {
		return true
	}
	oldest := at/(int64(b.cfg.Window)/spans) - spans
	good, bad := 0, 0
	for _, s := range b.spans {
		if s.number > oldest {
			good, bad = good+s.good, bad+s.bad
		}
	}
	return good+bad >= b.cfg.MinCalls && float64(bad) >= b.cfg.Rate*float64(good+bad)
}
