package protect

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Adaptive bounds how many calls are under way by what they take: a limit for
// servers whose right one nobody knows, because it is the processor's, or a
// database's behind them. Where the limit is known, Queue with a Concurrency is
// better, as it lets bursts wait.
//
// From time to time few calls are let in, to see what a call takes when nothing
// waits. In between, the limit grows as long as calls take about that, and shrinks
// in proportion when they take longer: what is longer is waiting, somewhere inside.
// It is the gradient controller of Envoy's adaptive concurrency filter, which
// follows Netflix's concurrency-limits. Make it with NewAdaptive. Safe for
// concurrent use.
type Adaptive struct {
	cfg   AdaptiveConfig
	base  time.Time
	limit atomic.Int64
	under atomic.Int64
	most  atomic.Int64 // under way in this window

	mu        sync.Mutex
	samples   [256]int64 // latencies of this window, ns; a ring
	count     int        // of this window
	end       int64      // of this window
	measuring bool       // what a call takes when nothing waits
	since     int64      // when that began; calls from before do not count
	before    int64      // the limit before it
	alone     float64    // what a call takes then; ns
	measured  int64      // when that was
}

// AdaptiveConfig says how an Adaptive works. The zero value is the default.
type AdaptiveConfig struct {
	Least   int           // the lowest limit, and the one for measuring; default 3
	Most    int           // the highest; default 4096
	First   int           // the one to begin with; default 32
	Window  time.Duration // how often the limit changes; default 100 ms
	Samples int           // calls that must have ended before; default 30
	Measure time.Duration // how often it is measured what a call takes when nothing waits; default 1 min
	Slack   float64       // how much longer than that is no waiting yet; default 0.25
}

// NewAdaptive makes an Adaptive.
func NewAdaptive(cfg AdaptiveConfig, now time.Time) *Adaptive {
	cfg.Least = or(max(0, cfg.Least), 3)
	cfg.Most = max(cfg.Least, or(max(0, cfg.Most), 4096))
	cfg.First = min(max(cfg.Least, or(max(0, cfg.First), 32)), cfg.Most)
	cfg.Window = or(max(0, cfg.Window), 100*time.Millisecond)
	cfg.Samples = or(max(0, cfg.Samples), 30)
	cfg.Measure = or(max(0, cfg.Measure), time.Minute)
	cfg.Slack = or(max(0, cfg.Slack), 0.25)
	a := &Adaptive{cfg: cfg, base: now}
	a.limit.Store(int64(cfg.First))
	a.measure(0)
	return a
}

// measure lets few calls in. It is called with the lock held.
func (a *Adaptive) measure(at int64) {
	a.measuring, a.since, a.before = true, at, a.limit.Load()
	a.limit.Store(int64(a.cfg.Least))
	a.count = 0
}

// Limit is how many calls may be under way now.
func (a *Adaptive) Limit() int { return int(a.limit.Load()) }

// Under is how many calls are under way.
func (a *Adaptive) Under() int { return int(a.under.Load()) }

// Enter asks for a call. False: it must be refused. Else Leave must be told of its end.
func (a *Adaptive) Enter() bool {
	for {
		under := a.under.Load()
		if under >= a.limit.Load() {
			return false
		}
		if a.under.CompareAndSwap(under, under+1) {
			if most := a.most.Load(); under+1 > most {
				a.most.CompareAndSwap(most, under+1) // about right is enough
			}
			return true
		}
	}
}

// Leave ends a call that took so long. What calls took that were cancelled, or
// failed before their work, says nothing: give 0 for those.
func (a *Adaptive) Leave(took time.Duration, now time.Time) {
	a.under.Add(-1)
	if took <= 0 {
		return
	}
	at := int64(now.Sub(a.base))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.measuring && at-int64(took) < a.since {
		return
	}
	a.samples[a.count%len(a.samples)] = int64(took)
	a.count++
	if a.count < a.cfg.Samples {
		return
	}
	switch {
	case a.measuring:
		a.alone, a.measured, a.measuring = a.median(), at, false
		a.limit.Store(a.before)
		a.begin(at)
	case at >= a.end:
		a.adapt()
		a.begin(at)
		if at-a.measured >= int64(a.cfg.Measure) {
			a.measure(at)
		}
	}
}

// begin begins a window. It is called with the lock held.
func (a *Adaptive) begin(at int64) {
	a.count, a.end = 0, at+int64(a.cfg.Window)
	a.most.Store(a.under.Load())
}

// median is that of the window. It is called with the lock held.
func (a *Adaptive) median() float64 {
	list := a.samples[:min(a.count, len(a.samples))]
	slices.Sort(list)
	return float64(list[len(list)/2])
}

// adapt changes the limit. It is called with the lock held.
func (a *Adaptive) adapt() {
	old := float64(a.limit.Load())
	gradient := a.alone * (1 + a.cfg.Slack) / a.median()
	limit := old*min(max(gradient, 0.5), 2) + math.Sqrt(old) // so much may wait, to find out whether more is possible
	if limit > old && float64(a.most.Load()) < old/2 {
		return // nobody asks for more
	}
	a.limit.Store(int64(min(max(limit, float64(a.cfg.Least)), float64(a.cfg.Most))))
}
