package protect_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/business/protect"
)

// gate is what lets calls in.
type gate interface {
	Enter() bool
	Leave(took time.Duration, now time.Time)
}

// open lets all in.
type open struct{}

func (open) Enter() bool                    { return true }
func (open) Leave(time.Duration, time.Time) {}

// pool is something inside a server that does so many calls at once, each in 5 ms,
// and lets the others wait.
type pool struct {
	*world
	g       gate
	free    int
	waiting []time.Time
	took    []time.Duration
	good    int // answered within a quarter of a second
	calls   int
	refused int
}

func (p *pool) call() {
	p.calls++
	if !p.g.Enter() {
		p.refused++
		return
	}
	p.waiting = append(p.waiting, p.now)
	p.next()
}

func (p *pool) next() {
	for p.free > 0 && len(p.waiting) > 0 {
		came := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.free--
		p.after(4*time.Millisecond+p.about(time.Millisecond), func() {
			p.free++
			d := p.now.Sub(came)
			p.g.Leave(d, p.now)
			p.took = append(p.took, d)
			if d <= 250*time.Millisecond {
				p.good++
			}
			p.next()
		})
	}
}

// over runs a load for a while, and returns the goodput a second and the 99th
// percentile of its last part.
func (p *pool) over(perSecond float64, d time.Duration) (goodput float64, p99 time.Duration) {
	p.arrive(perSecond, d, p.call)
	p.run(d / 2)
	p.good, p.took, p.calls, p.refused = 0, nil, 0, 0
	p.run(d / 2)
	return float64(p.good) / (d / 2).Seconds(), percentile(p.took, 0.99)
}

func adaptive(w *world) (*pool, *protect.Adaptive) {
	a := protect.NewAdaptive(protect.AdaptiveConfig{}, w.now)
	return &pool{world: w, g: a, free: 32}, a
}

func TestALimitIsFoundUnderOverload(t *testing.T) {
	p, a := adaptive(newWorld(1))
	goodput, p99 := p.over(3*capacity, 4*time.Second)
	t.Logf("goodput %.0f of %.0f a second, p99 %v, limit %d", goodput, capacity, p99, a.Limit())
	assert.GreaterOrEqual(t, goodput, 0.9*capacity)
	assert.LessOrEqual(t, p99, 20*time.Millisecond)

	w := newWorld(1)
	p = &pool{world: w, g: open{}, free: 32}
	goodput, p99 = p.over(3*capacity, 4*time.Second)
	assert.Less(t, goodput, 0.1*capacity, "planted: lets all in")
	assert.Greater(t, p99, 20*time.Millisecond)
}

func TestTheLimitFollowsWhatIsPossible(t *testing.T) {
	p, a := adaptive(newWorld(2))
	p.over(2*capacity, 3*time.Second)
	before := a.Limit()
	p.free -= 24 // a quarter is left
	goodput, p99 := p.over(2*capacity, 4*time.Second)
	t.Logf("limit %d, and %d for a quarter: goodput %.0f a second, p99 %v", before, a.Limit(), goodput, p99)
	assert.Less(t, a.Limit(), before/2)
	assert.GreaterOrEqual(t, goodput, 0.9*capacity/4)
	assert.LessOrEqual(t, p99, 40*time.Millisecond)
	p.free += 24
	goodput, _ = p.over(2*capacity, 4*time.Second)
	assert.GreaterOrEqual(t, goodput, 0.9*capacity)
}

func TestNobodyIsRefusedBelowWhatIsPossible(t *testing.T) {
	p, a := adaptive(newWorld(3))
	goodput, _ := p.over(0.7*capacity, 4*time.Second)
	t.Logf("limit %d, %d of %d refused", a.Limit(), p.refused, p.calls)
	assert.Zero(t, p.refused)
	assert.Greater(t, goodput, 0.68*capacity)
	assert.Less(t, a.Limit(), 200, "it does not grow without need")
}

func TestMeasuringCostsLittle(t *testing.T) {
	p, _ := adaptive(newWorld(4))
	p.over(3*capacity, 4*time.Second)
	p.run(58 * time.Second) // the next measuring is due
	goodput, _ := p.over(1.5*capacity, 2*time.Second)
	assert.GreaterOrEqual(t, goodput, 0.9*capacity)
}

// TestMeasuringAgainMeasuresNoOverload: calls that began among many others do not
// count as calls that were alone, or the limit would grow with each measuring.
func TestMeasuringAgainMeasuresNoOverload(t *testing.T) {
	w := newWorld(6)
	a := protect.NewAdaptive(protect.AdaptiveConfig{Measure: time.Second}, w.now)
	p := &pool{world: w, g: a, free: 32}
	p.over(3*capacity, 12*time.Second)
	assert.Less(t, a.Limit(), 64)
}

func TestCallsThatSayNothingDoNotCount(t *testing.T) {
	w := newWorld(7)
	a := protect.NewAdaptive(protect.AdaptiveConfig{}, w.now)
	for range 1000 {
		assert.True(t, a.Enter())
		a.Leave(0, w.now)
	}
	assert.Equal(t, 3, a.Limit(), "still measuring")
}

func TestTheLimitStaysInItsBounds(t *testing.T) {
	w := newWorld(5)
	a := protect.NewAdaptive(protect.AdaptiveConfig{Least: 2, First: 5, Most: 8, Samples: 10}, w.now)
	assert.Equal(t, 2, a.Limit(), "measuring")
	round := func(took time.Duration) {
		n := 0
		for a.Enter() {
			n++
		}
		w.now = w.now.Add(took)
		for range n {
			a.Leave(took, w.now)
		}
	}
	for range 5 {
		round(time.Millisecond)
	}
	assert.Equal(t, 5, a.Limit())
	for range 1000 {
		round(time.Millisecond)
	}
	assert.Equal(t, 8, a.Limit())
	for range 300 {
		round(time.Second / 10)
	}
	assert.LessOrEqual(t, a.Limit(), 4)
	assert.GreaterOrEqual(t, a.Limit(), 2)
	for range 1000 {
		round(time.Second / 10)
	}
	assert.Equal(t, 8, a.Limit(), "measured again: that is what a call takes now")
	assert.Zero(t, a.Under())
}
