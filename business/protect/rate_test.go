package protect_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/business/protect"
)

// limiter is what a server asks.
type limiter interface {
	Allow(n float64, now time.Time) (time.Duration, bool)
}

// counter allows so many in each second of the clock: twice as many around its end.
type counter struct {
	w         *world
	perSecond int
	second    time.Duration
	n         int
}

func (c *counter) Allow(float64, time.Time) (time.Duration, bool) {
	if s := c.w.passed() / time.Second; s != c.second {
		c.second, c.n = s, 0
	}
	c.n++
	return 0, c.n <= c.perSecond
}

// seldom is asked in three tenths of a second, and then not for more than three.
type seldom struct {
	w *world
	limiter
}

func (s seldom) Allow(n float64, now time.Time) (time.Duration, bool) {
	if s.w.passed()%(3400*time.Millisecond) < 3100*time.Millisecond {
		return 0, false
	}
	return s.limiter.Allow(n, now)
}

// excess is by how many requests a limiter allows more than a rate and a burst do, in
// the time where it allows most.
func excess(w *world, l limiter, rate, burst, demand float64, d time.Duration) (worst, allowed float64) {
	lowest := 0.0 // of allowed - rate x time
	w.arrive(demand, d, func() {
		if _, ok := l.Allow(1, w.now); ok {
			lowest = min(lowest, allowed-rate*w.passed().Seconds())
			allowed++
			worst = max(worst, allowed-rate*w.passed().Seconds()-lowest-burst)
		}
	})
	w.run(d)
	return worst, allowed
}

func TestALimiterIsExactOverTime(t *testing.T) {
	tests := []struct {
		rate, burst, demand float64
		d                   time.Duration
	}{
		{10, 10, 100, 10 * time.Minute},
		{3, 4, 50, 20 * time.Minute},
		{700.0 / 3, 20, 1000, time.Minute},
		{1.0 / 7, 2, 5, 3 * time.Hour},
		{12_345.678, 100, 30_000, 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.4g a second", tt.rate), func(t *testing.T) {
			w := newWorld(1)
			l := protect.NewRateLimiter(protect.Rate{PerSecond: tt.rate, Burst: tt.burst}, w.now)
			worst, allowed := excess(w, l, tt.rate, tt.burst, tt.demand, tt.d)
			assert.LessOrEqual(t, worst, 1e-3, "in no time more than rate and burst")
			assert.GreaterOrEqual(t, allowed, 0.999*tt.rate*tt.d.Seconds()-1, "and not less")
			assert.LessOrEqual(t, allowed, tt.rate*tt.d.Seconds()+tt.burst+1)
		})
	}
	bursts := func(mk func(*world) limiter) float64 {
		w := newWorld(1)
		worst, _ := excess(w, mk(w), 10, 10, 200, time.Minute)
		return worst
	}
	assert.LessOrEqual(t, bursts(func(w *world) limiter {
		return seldom{w, protect.NewRateLimiter(protect.Rate{PerSecond: 10, Burst: 10}, w.now)}
	}), 1e-3)
	assert.Greater(t, bursts(func(w *world) limiter { return seldom{w, &counter{w: w, perSecond: 10}} }), 1e-3, "planted: counts by the second")
}

func TestALimiterSaysWhenToComeBack(t *testing.T) {
	w := newWorld(1)
	l := protect.NewRateLimiter(protect.Rate{PerSecond: 4, Burst: 2}, w.now)
	for range 2 {
		_, ok := l.Allow(1, w.now)
		assert.True(t, ok)
	}
	wait, ok := l.Allow(1, w.now)
	assert.False(t, ok)
	assert.InDelta(t, 250*time.Millisecond, wait, 2)
	_, ok = l.Allow(1, w.now.Add(wait-time.Millisecond))
	assert.False(t, ok)
	_, ok = l.Allow(1, w.now.Add(-time.Hour))
	assert.False(t, ok, "the time of a slower goroutine")
	_, ok = l.Allow(1, w.now.Add(wait))
	assert.True(t, ok)
}

func TestALimiterTakesLargeAmounts(t *testing.T) {
	w := newWorld(1)
	l := protect.NewRateLimiter(protect.Rate{PerSecond: 1000, Burst: 1000}, w.now)
	_, ok := l.Allow(5000, w.now)
	assert.True(t, ok, "more than ever fits, so when it is full")
	wait, ok := l.Allow(1, w.now)
	assert.False(t, ok)
	assert.InDelta(t, 4001*time.Millisecond, wait, 10)

	l = protect.NewRateLimiter(protect.Rate{PerSecond: 1000}, w.now)
	assert.Zero(t, l.Spend(1000, w.now))
	assert.InDelta(t, 500*time.Millisecond, l.Spend(500, w.now), 10)
	assert.InDelta(t, time.Second, l.Spend(500, w.now), 10)
}

func TestRatesChange(t *testing.T) {
	w := newWorld(1)
	l := protect.NewRateLimiter(protect.Rate{}, w.now)
	count := func() (n int) {
		for n < 1000 {
			if _, ok := l.Allow(1, w.now); !ok {
				break
			}
			n++
		}
		return n
	}
	assert.Equal(t, 1000, count(), "no limit")
	assert.Zero(t, l.Spend(1e9, w.now))
	l.Set(protect.Rate{PerSecond: 10}, w.now)
	assert.Equal(t, 10, count())
	w.now = w.now.Add(time.Second / 2)
	l.Set(protect.Rate{PerSecond: 100, Burst: 3}, w.now)
	assert.Equal(t, 3, count())
	l.Set(protect.Rate{PerSecond: 0.5}, w.now)
	w.now = w.now.Add(2 * time.Second)
	assert.Equal(t, 1, count())
	var none *protect.RateLimiter
	_, ok := none.Allow(1, w.now)
	assert.True(t, ok)
	assert.Zero(t, none.Spend(1, w.now))
}

// namer is a client that takes another of so many names for each of its requests; so
// many of them are allowed.
func namer(w *world, of func(name string) limiter, names, requests int) (allowed int) {
	for i := range requests {
		w.now = w.now.Add(100 * time.Microsecond)
		if _, ok := of(fmt.Sprint("name", i%names)).Allow(1, w.now); ok {
			allowed++
		}
	}
	return allowed
}

func TestManyNamesGetNoMore(t *testing.T) {
	rate := protect.Rate{PerSecond: 1, Burst: 5}
	w := newWorld(1)
	all := protect.NewRateLimiters(100, func(string) protect.Rate { return rate }, w.now)
	got := namer(w, func(name string) limiter { return all.Of(name, w.now) }, 100_000, 100_000)
	t.Logf("%d of 100,000 requests", got)
	assert.LessOrEqual(t, all.Len(), 100)
	bound := 101 * (5 + 10) // names known, and the one for all others; a burst, and 10 s
	assert.LessOrEqual(t, got, bound)
	w = newWorld(1)
	forgetful := make(map[string]limiter)
	got = namer(w, func(name string) limiter {
		if len(forgetful) >= 100 {
			clear(forgetful)
		}
		if forgetful[name] == nil {
			forgetful[name] = protect.NewRateLimiter(rate, w.now)
		}
		return forgetful[name]
	}, 100_000, 100_000)
	assert.Greater(t, got, bound, "planted: forgets who has spent something")
}

func TestIdentitiesHaveRatesOfTheirOwn(t *testing.T) {
	w := newWorld(1)
	rates := map[string]protect.Rate{"": {PerSecond: 1}, "small": {PerSecond: 2}, "large": {PerSecond: 50}, "free": {}}
	all := protect.NewRateLimiters(3, func(id string) protect.Rate { return rates[id] }, w.now)
	count := func(id string) (n int) {
		for n < 1000 {
			if _, ok := all.Of(id, w.now).Allow(1, w.now); !ok {
				break
			}
			n++
		}
		return n
	}
	assert.Equal(t, 2, count("small"))
	assert.Equal(t, 50, count("large"))
	assert.Equal(t, 1000, count("free"))
	rates["small"] = protect.Rate{PerSecond: 20}
	all.Reset(w.now)
	w.now = w.now.Add(time.Second)
	assert.Equal(t, 20, count("small"))
	w.now = w.now.Add(time.Hour)
	rates["other"], rates["third"] = rates[""], rates[""]
	assert.Equal(t, 1, count("other"), "it takes the room of one that had not used anything for long")
	assert.Equal(t, 1, count("third"))
	assert.Equal(t, 3, all.Len())
}

func TestWhoHasNotComeForLongestMakesRoom(t *testing.T) {
	w := newWorld(1)
	all := protect.NewRateLimiters(10, func(string) protect.Rate { return protect.Rate{PerSecond: 1, Burst: 5} }, w.now)
	for i := range 10 {
		all.Of(fmt.Sprint(i), w.now).Allow(1, w.now)
	}
	for range 10 { // five of them go on, the first ones
		w.now = w.now.Add(time.Second)
		for i := range 5 {
			all.Of(fmt.Sprint(i), w.now).Allow(2, w.now)
		}
	}
	shared := all.Of("one too many", w.now)
	assert.NotSame(t, shared, all.Of("and another", w.now), "each has one of its own")
	_, ok := all.Of("0", w.now).Allow(5, w.now)
	assert.False(t, ok, "it was not forgotten")
}
