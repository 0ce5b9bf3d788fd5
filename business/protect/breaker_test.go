package protect_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/business/protect"
)

// outage is what comes of 200 calls a second, when the provider is away from the
// 10th to the 40th second: calls that it got meanwhile, that were held back while
// it was well, and when it first got its full share again.
func outage(cfg protect.BreakerConfig) (wasted, held int, back time.Duration) {
	w := newWorld(1)
	b := protect.NewBreaker(cfg, w.now)
	row := 0
	w.arrive(200, 60*time.Second, func() {
		begun := w.passed()
		away := begun > 10*time.Second && begun < 40*time.Second
		p, ok := b.Allow(w.now)
		switch {
		case !ok:
			row = 0
			if !away {
				held++
			}
			return
		case away:
			wasted++
		case begun > 40*time.Second:
			if row++; row == 100 {
				back = begun - 40*time.Second
			}
		}
		v := protect.Good
		if away {
			v = protect.Bad
		}
		w.after(w.about(5*time.Millisecond), func() { b.Done(p, w.now, v) })
	})
	w.run(61 * time.Second)
	return wasted, held, back
}

func TestABreakerOpensAndRecovers(t *testing.T) {
	wasted, held, back := outage(protect.BreakerConfig{On: true})
	t.Logf("%d of 6,000 calls were wasted; %d held back after it was well again; all went %v after", wasted, held, back)
	assert.Less(t, wasted, 60)
	assert.Less(t, back, 6*time.Second)
	assert.Less(t, held, 1200)
	wasted, held, _ = outage(protect.BreakerConfig{})
	assert.Greater(t, wasted, 5000, "planted: off, which is the default")
	assert.Zero(t, held)
	_, _, back = outage(protect.BreakerConfig{On: true, OpenFor: 15 * time.Minute})
	assert.Zero(t, back, "planted: stays open for a quarter of an hour")
}

// on is a Breaker in a world.
func (w *world) breaker(cfg protect.BreakerConfig) *protect.Breaker {
	cfg.On = true
	return protect.NewBreaker(cfg, w.now)
}

// does makes a call that ends at once.
func (w *world) does(b *protect.Breaker, v protect.Verdict) bool {
	p, ok := b.Allow(w.now)
	if ok {
		b.Done(p, w.now, v)
	}
	return ok
}

func TestABreakerOpensByCountAndByRate(t *testing.T) {
	tests := []struct {
		name string
		cfg  protect.BreakerConfig
		bad  int // one call in so many fails
		want bool
	}{
		{"all fail", protect.BreakerConfig{}, 1, true},
		{"half fail", protect.BreakerConfig{}, 2, true},
		{"a third fails", protect.BreakerConfig{}, 3, false},
		{"a third is too many", protect.BreakerConfig{Rate: 0.3}, 3, true},
		{"all fail, but too few calls", protect.BreakerConfig{InRow: -1, MinCalls: 1000}, 1, false},
		{"half fail, but too few calls in a window", protect.BreakerConfig{Window: time.Second}, 2, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(1)
			b := w.breaker(tt.cfg)
			for i := range 200 {
				v := protect.Good
				if i%tt.bad == 0 {
					v = protect.Bad
				}
				w.does(b, v)
				w.now = w.now.Add(100 * time.Millisecond)
				if b.State() == protect.Open {
					break
				}
			}
			assert.Equal(t, tt.want, b.State() == protect.Open, b.State())
		})
	}
}

func TestFailuresAreForgottenAfterTheWindow(t *testing.T) {
	for after, want := range map[time.Duration]protect.BreakerState{9 * time.Second: protect.Open, 13 * time.Second: protect.Closed} {
		w := newWorld(1)
		b := w.breaker(protect.BreakerConfig{InRow: -1})
		for range 19 {
			w.does(b, protect.Bad)
		}
		w.now = w.now.Add(after)
		w.does(b, protect.Bad)
		assert.Equal(t, want, b.State(), after)
	}
}

func TestCallsOnTrialDecide(t *testing.T) {
	open := func() (*world, *protect.Breaker) {
		w := newWorld(1)
		b := w.breaker(protect.BreakerConfig{})
		for range 5 {
			require.True(t, w.does(b, protect.Bad))
		}
		require.Equal(t, protect.Open, b.State())
		require.False(t, w.does(b, protect.Good))
		require.False(t, b.Ready(w.now))
		w.now = w.now.Add(5 * time.Second)
		require.True(t, b.Ready(w.now))
		return w, b
	}
	t.Run("three are answered: it closes", func(t *testing.T) {
		w, b := open()
		for range 3 {
			assert.NotEqual(t, protect.Closed, b.State())
			assert.True(t, w.does(b, protect.Good))
		}
		assert.Equal(t, protect.Closed, b.State())
	})
	t.Run("one fails: it opens", func(t *testing.T) {
		w, b := open()
		assert.True(t, w.does(b, protect.Good))
		assert.True(t, w.does(b, protect.Bad))
		assert.Equal(t, "open", b.State().String())
		assert.False(t, w.does(b, protect.Good))
	})
	t.Run("no more than three at a time", func(t *testing.T) {
		w, b := open()
		for range 3 {
			_, ok := b.Allow(w.now)
			assert.True(t, ok)
		}
		assert.False(t, b.Ready(w.now))
		_, ok := b.Allow(w.now)
		assert.False(t, ok)
		w.now = w.now.Add(5 * time.Second)
		assert.True(t, w.does(b, protect.Good), "they never ended")
	})
	t.Run("those that say nothing make room", func(t *testing.T) {
		w, b := open()
		for range 10 {
			assert.True(t, w.does(b, protect.Nothing))
		}
		assert.Equal(t, "half-open", b.State().String())
	})
	t.Run("what began before does not count", func(t *testing.T) {
		w := newWorld(1)
		b := w.breaker(protect.BreakerConfig{})
		old, _ := b.Allow(w.now)
		for range 5 {
			w.does(b, protect.Bad)
		}
		w.now = w.now.Add(6 * time.Second)
		first, ok := b.Allow(w.now)
		assert.True(t, ok)
		b.Done(old, w.now, protect.Bad)
		assert.Equal(t, protect.HalfOpen, b.State())
		b.Done(first, w.now, protect.Bad)
		assert.Equal(t, protect.Open, b.State())
	})
}

func TestNoBreakerAllowsAll(t *testing.T) {
	w := newWorld(1)
	for _, b := range []*protect.Breaker{nil, new(protect.Breaker)} {
		for range 100 {
			assert.True(t, w.does(b, protect.Bad))
		}
		assert.Equal(t, protect.Closed, b.State())
		assert.True(t, b.Ready(w.now))
	}
}
