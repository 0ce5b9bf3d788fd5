package balance

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Member is an instance in a Group, with what is known of it. It stays the same
// one through all updates, as long as the instance is there. Safe for concurrent use.
type Member struct {
	base     time.Time // the Group's; times below are nanoseconds from there
	ramp     time.Duration
	instance atomic.Pointer[Instance]
	since    atomic.Int64 // slow start counts from here
	pending  atomic.Int64
	seen     latency
	trial    trial
}

// Instance returns the description that the Group was given last. It must not be changed.
func (m *Member) Instance() *Instance { return m.instance.Load() }

// Pending returns how many calls the member has that have not ended.
func (m *Member) Pending() int { return int(m.pending.Load()) }

// Latency returns what calls took lately, on average; 0 when nothing is known.
// What is known fades: without calls it falls by a half every seven seconds, so
// that an instance that was slow is tried again.
func (m *Member) Latency(now time.Time) time.Duration {
	return time.Duration(m.seen.mean(m.at(now)))
}

// Share returns which part of its weight the member gets while it is new, from
// 0.1 up to 1.
func (m *Member) Share(now time.Time) float64 { return ramp(m.age(now), m.ramp) }

func (m *Member) at(now time.Time) int64 { return int64(now.Sub(m.base)) }

func (m *Member) age(now time.Time) time.Duration {
	return time.Duration(m.at(now) - m.since.Load())
}

// latency is a running average of latencies in nanoseconds. Readers do not wait
// for writers.
type latency struct {
	mu      sync.Mutex // among writers
	average atomic.Uint64
	highest atomic.Uint64
	last    atomic.Int64
}

// fade is the time constant with which what is known of latencies loses weight.
const fade = 10 * time.Second

// learning is the weight of one call in the average.
const learning = 0.1

// observe takes one call's latency. A call that failed can only raise what is
// known: an instance that fails fast is not a fast one.
func (l *latency) observe(at int64, took time.Duration, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := faded(at - l.last.Load())
	average, highest := load(&l.average)*keep, load(&l.highest)
	x := max(float64(took), 1)
	if failed {
		x = max(x, average, highest)
	}
	if average == 0 {
		average = x
	}
	average += learning * (x - average)
	// The peak goes up at once and comes down slowly.
	highest = max(x, highest*keep+x*(1-keep))
	l.average.Store(math.Float64bits(average))
	l.highest.Store(math.Float64bits(highest))
	l.last.Store(max(at, l.last.Load()))
}

func (l *latency) mean(at int64) float64 { return l.read(&l.average, at) }
func (l *latency) peak(at int64) float64 { return l.read(&l.highest, at) }

func (l *latency) read(v *atomic.Uint64, at int64) float64 {
	x := load(v)
	if x == 0 {
		return 0
	}
	return x * faded(at-l.last.Load())
}

// slower says whether the average is so many times another's, as far as both are
// known. What is the same in both, their fading since the later observation, is not
// worked out.
func (l *latency) slower(than *latency, times float64) bool {
	here, there := load(&l.average), load(&than.average)
	apart := l.last.Load() - than.last.Load()
	if apart < 0 {
		here *= faded(-apart)
	} else {
		there *= faded(apart)
	}
	return there > 0 && here > times*there
}

func load(v *atomic.Uint64) float64 { return math.Float64frombits(v.Load()) }

// faded is what is left of a weight after some time.
func faded(ns int64) float64 {
	x := max(0, float64(ns)/float64(fade))
	if x < 1e-4 { // calls come in close succession, mostly
		return 1 - x
	}
	return math.Exp(-x)
}
