package protect_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/business/protect"
)

// spender says whether there may be a retry.
type spender interface {
	Call()
	Spend(now time.Time) bool
}

// lavish always says yes: what a caller without a budget does.
type lavish struct{}

func (lavish) Call()                {}
func (lavish) Spend(time.Time) bool { return true }

// storm is what comes of 1,000 calls a second with up to three retries each, when
// each attempt fails with some probability.
func storm(budget func(w *world) spender, fails float64) (calls, attempts, answered int) {
	w := newWorld(1)
	b := budget(w)
	pauses := protect.Backoff{Rand: w.rng.Uint64}
	var attempt func(retry int)
	attempt = func(retry int) {
		attempts++
		if w.rng.Float64() >= fails {
			answered++
			return
		}
		if retry < 3 && b.Spend(w.now) {
			w.after(pauses.Pause(retry, 0), func() { attempt(retry + 1) })
		}
	}
	w.arrive(1000, 20*time.Second, func() {
		calls++
		b.Call()
		attempt(0)
	})
	w.run(30 * time.Second)
	return calls, attempts, answered
}

func budget(w *world) spender { return protect.NewBudget(protect.BudgetConfig{}, w.now) }

func TestARetryStormIsBounded(t *testing.T) {
	calls, attempts, _ := storm(budget, 1)
	t.Logf("all fail: %d attempts for %d calls: %.2f times", attempts, calls, float64(attempts)/float64(calls))
	bound := 1.2*float64(calls) + 10*30 + 100
	assert.LessOrEqual(t, float64(attempts), bound)
	_, unbounded, _ := storm(func(*world) spender { return lavish{} }, 1)
	assert.Greater(t, float64(unbounded), bound, "planted: no budget")
	assert.Greater(t, unbounded, 3*calls)
}

func TestFewFailuresAreAllRetried(t *testing.T) {
	calls, _, answered := storm(budget, 0.1)
	t.Logf("one attempt in ten fails: %d of %d calls were answered", answered, calls)
	assert.Greater(t, float64(answered), 0.999*float64(calls))
	_, _, once := storm(func(w *world) spender {
		return protect.NewBudget(protect.BudgetConfig{Ratio: -1, PerSecond: -1}, w.now)
	}, 0.1)
	assert.Less(t, float64(once), 0.95*float64(calls), "planted: no retries")
}

func TestABudgetCountsExactly(t *testing.T) {
	w := newWorld(1)
	spend := func(b *protect.Budget) (n int) {
		for b.Spend(w.now) {
			n++
		}
		return n
	}
	b := protect.NewBudget(protect.BudgetConfig{}, w.now)
	assert.Equal(t, 10, b.Left())
	assert.Equal(t, 10, spend(b), "a second's worth at first")
	for range 50 {
		b.Call()
	}
	assert.Equal(t, 10, spend(b))
	w.now = w.now.Add(1500 * time.Millisecond)
	assert.Equal(t, 15, spend(b))
	for range 10_000 {
		b.Call()
	}
	assert.Equal(t, 100, spend(b), "no more than Burst is saved up")
	w.now = w.now.Add(time.Hour)
	assert.Equal(t, 100, spend(b))
	b.Refund()
	assert.Equal(t, 1, spend(b))

	seldom := protect.NewBudget(protect.BudgetConfig{Ratio: -1, PerSecond: 1}, w.now)
	got := spend(seldom)
	for range 1000 { // time comes in small pieces, and none is lost
		w.now = w.now.Add(10 * time.Millisecond)
		seldom.Call()
		got += spend(seldom)
	}
	assert.Equal(t, 11, got)
}

// stampede is how many attempts 1,000 clients make until all are served, when they all lose
// their server at once and it serves 20 in each 10 ms.
func stampede(pause func(w *world, retry int) time.Duration) (attempts int, last time.Duration) {
	w := newWorld(2)
	served, slot := 0, time.Duration(-1)
	var attempt func(retry int)
	attempt = func(retry int) {
		attempts++
		if now := w.passed() / (10 * time.Millisecond); now != slot {
			slot, served = now, 0
		}
		if served++; served <= 20 {
			last = w.passed()
			return
		}
		w.after(pause(w, retry), func() { attempt(retry + 1) })
	}
	for range 1000 {
		w.after(0, func() { attempt(0) })
	}
	w.run(10 * time.Minute)
	return attempts, last
}

func TestThoseWhoFailedTogetherDoNotComeBackTogether(t *testing.T) {
	attempts, last := stampede(func(w *world, retry int) time.Duration {
		return protect.Backoff{Rand: w.rng.Uint64}.Pause(retry, 0)
	})
	t.Logf("%d attempts, all served after %v", attempts, last)
	assert.Less(t, attempts, 10_000)
	assert.Less(t, last, 10*time.Second)
	attempts, last = stampede(func(_ *world, retry int) time.Duration {
		return protect.Backoff{Rand: func() uint64 { return math.MaxUint64/2 - 1 }, First: 50 * time.Millisecond}.Pause(retry, 0)
	})
	assert.Greater(t, attempts, 10_000, "planted: no jitter; %v", last)
}

func TestPausesGrowUpToABound(t *testing.T) {
	w := newWorld(3)
	most := func(b protect.Backoff, retry int, atLeast time.Duration) (longest, shortest time.Duration) {
		b.Rand, shortest = w.rng.Uint64, time.Hour
		for range 5000 {
			d := b.Pause(retry, atLeast)
			longest, shortest = max(longest, d), min(shortest, d)
		}
		return longest, shortest
	}
	for retry, want := range []time.Duration{50e6, 100e6, 200e6, 400e6, 800e6, 1600e6, 3200e6, 5000e6, 5000e6} {
		longest, shortest := most(protect.Backoff{}, retry, 0)
		assert.LessOrEqual(t, longest, want)
		assert.Greater(t, longest, want*9/10)
		assert.Less(t, shortest, want/10)
	}
	longest, _ := most(protect.Backoff{First: time.Second, Most: time.Minute}, 1_000_000, 0)
	assert.LessOrEqual(t, longest, time.Minute)
	longest, shortest := most(protect.Backoff{}, 0, time.Second)
	assert.GreaterOrEqual(t, shortest, time.Second, "the server asked for it")
	assert.LessOrEqual(t, longest, 1050*time.Millisecond)
	assert.Positive(t, protect.Backoff{}.Pause(5, 1))
}
