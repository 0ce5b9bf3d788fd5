package protect_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/business/protect"
)

// hedger is what a caller asks about hedging.
type hedger interface {
	Call()
	After() (time.Duration, bool)
	Extra(had int, now time.Time) bool
	Ended(took time.Duration)
}

// rash asks a second provider when half the calls are still under way, always.
type rash struct{ wait time.Duration }

func (rash) Call()                           {}
func (r rash) After() (time.Duration, bool)  { return r.wait, true }
func (rash) Extra(had int, _ time.Time) bool { return had < 1 }
func (rash) Ended(time.Duration)             {}

// never does not hedge.
type never struct{ rash }

func (never) Extra(int, time.Time) bool { return false }

// usual are answers of which one in fifty takes 100 ms.
func usual(w *world) time.Duration {
	if w.rng.IntN(50) == 0 {
		return 100 * time.Millisecond
	}
	return w.about(2 * time.Millisecond)
}

// hedged is what comes of 1,000 calls a second: the 99th percentile, and extra
// attempts as a part of the calls.
func hedged(mk func(w *world) hedger, latency func(w *world) time.Duration) (p99 time.Duration, extra float64) {
	w := newWorld(1)
	h := mk(w)
	var took []time.Duration
	calls, extras := 0, 0
	w.arrive(1000, 30*time.Second, func() {
		begun, done := w.now, false
		end := func() {
			if !done {
				done = true
				took = append(took, w.now.Sub(begun))
				h.Ended(w.now.Sub(begun))
			}
		}
		calls++
		h.Call()
		w.after(latency(w), end)
		if wait, ok := h.After(); ok {
			w.after(wait, func() {
				if !done && h.Extra(0, w.now) {
					extras++
					w.after(latency(w), end)
				}
			})
		}
	})
	w.run(40 * time.Second)
	return percentile(took, 0.99), float64(extras) / float64(calls)
}

func hedge(w *world) hedger { return protect.NewHedge(protect.HedgeConfig{}, w.now) }

func TestHedgingCutsTheTail(t *testing.T) {
	p99, extra := hedged(hedge, usual)
	without, _ := hedged(func(*world) hedger { return never{} }, usual)
	t.Logf("p99 %v with %.1f %% extra calls, %v without", p99, 100*extra, without)
	assert.LessOrEqual(t, p99, without/5)
	assert.LessOrEqual(t, extra, 0.05)
	_, extra = hedged(func(*world) hedger { return rash{1700 * time.Microsecond} }, usual)
	assert.Greater(t, extra, 0.05, "planted: hedges at the median, without a budget")
}

func TestHedgingAddsLittleWhenAllIsSlow(t *testing.T) {
	slow := func(w *world) time.Duration {
		if w.passed() > 5*time.Second {
			return 50 * usual(w)
		}
		return usual(w)
	}
	_, extra := hedged(hedge, slow)
	assert.LessOrEqual(t, extra, 0.05)
	fixed := func(w *world) hedger {
		return protect.NewHedge(protect.HedgeConfig{Fixed: 5 * time.Millisecond}, w.now)
	}
	_, extra = hedged(fixed, slow)
	assert.LessOrEqual(t, extra, 0.05)
	_, extra = hedged(func(*world) hedger { return rash{5 * time.Millisecond} }, slow)
	assert.Greater(t, extra, 0.5, "planted: no budget")
}

func TestThePercentileFollowsWhatCallsTake(t *testing.T) {
	w := newWorld(2)
	h := protect.NewHedge(protect.HedgeConfig{Percentile: 0.9, Least: 10 * time.Microsecond}, w.now)
	_, ok := h.After()
	assert.False(t, ok, "nothing is known yet")
	for _, most := range []time.Duration{time.Millisecond, time.Second, 100 * time.Microsecond, time.Hour, 5 * time.Millisecond} {
		for range 60_000 {
			h.Ended(time.Duration(w.rng.Int64N(int64(most))))
		}
		got, ok := h.After()
		assert.True(t, ok)
		assert.InEpsilon(t, 0.9*float64(most), float64(got), 0.1, "%v", most)
	}
	for range 60_000 {
		h.Ended(0)
	}
	got, _ := h.After()
	assert.Equal(t, 10*time.Microsecond, got, "never sooner than Least")
}

func TestACallHasSoManyExtraAttempts(t *testing.T) {
	w := newWorld(3)
	h := protect.NewHedge(protect.HedgeConfig{Most: 2, Fixed: time.Second}, w.now)
	for range 10 {
		assert.True(t, h.Extra(0, w.now), "who calls for the first time may hedge")
	}
	assert.False(t, h.Extra(0, w.now), "the budget is used up")
	h.NotMade()
	assert.True(t, h.Extra(0, w.now), "one was taken back")
	for range 100 {
		h.Call()
	}
	assert.True(t, h.Extra(0, w.now))
	assert.True(t, h.Extra(1, w.now))
	assert.False(t, h.Extra(2, w.now))
}
