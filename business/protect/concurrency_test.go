package protect_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/business/protect"
)

// thrash is the goodput of a server that slows down with what it does at once: 5 ms
// for one, twice that for 64, five times that for 128; it is given four times
// what it can do, and callers wait for 50 ms.
func thrash(limit int) (good int) {
	w := newWorld(1)
	c := protect.NewConcurrency(limit)
	w.arrive(25_600, 2*time.Second, func() {
		if !c.Enter() {
			return
		}
		n := float64(c.Under()) / 64
		d := time.Duration(5e6 * (1 + n*n))
		w.after(d, func() {
			c.Leave()
			if d <= 50*time.Millisecond {
				good++
			}
		})
	})
	w.run(3 * time.Second)
	return good
}

func TestALimitKeepsAServerFromThrashing(t *testing.T) {
	with, without := thrash(64), thrash(0)
	t.Logf("%d answered in time with a limit, %d without", with, without)
	assert.Greater(t, with, 12_000)
	assert.Less(t, without, 2000, "planted: no limit")
}

func TestNeverMoreThanTheLimit(t *testing.T) {
	c, each := protect.NewConcurrency(3), protect.NewConcurrencies(func(id string) int { return len(id) })
	var mu sync.Mutex
	var all sync.WaitGroup
	under, most := make(map[string]int), make(map[string]int)
	note := func(who string, by int) {
		mu.Lock()
		defer mu.Unlock()
		under[who] += by
		most[who] = max(most[who], under[who])
	}
	for range 8 {
		all.Go(func() {
			for range 500 {
				if c.Enter() {
					note("", 1)
					note("", -1)
					c.Leave()
				}
				for _, id := range []string{"ab", "abcd"} {
					if each.Enter(id) {
						note(id, 1)
						note(id, -1)
						each.Leave(id)
					}
				}
			}
		})
	}
	all.Wait()
	assert.LessOrEqual(t, most[""], 3)
	assert.LessOrEqual(t, most["ab"], 2)
	assert.LessOrEqual(t, most["abcd"], 4)
	assert.Zero(t, c.Under())
	assert.Zero(t, each.Under("ab")+each.Under("abcd"))
}

func TestLimitsChangeAndMayBeNone(t *testing.T) {
	c := protect.NewConcurrency(1)
	assert.True(t, c.Enter())
	assert.False(t, c.Enter())
	c.SetLimit(2)
	assert.True(t, c.Enter())
	c.SetLimit(1)
	c.Leave()
	assert.False(t, c.Enter())
	c.SetLimit(0)
	assert.True(t, c.Enter())
	var none *protect.Concurrency
	assert.True(t, none.Enter())
	none.Leave()
	each := protect.NewConcurrencies(func(string) int { return 0 })
	for range 100 {
		assert.True(t, each.Enter("x"))
	}
	assert.Equal(t, 100, each.Under("x"))
}

// TestSideBySide is for the race detector.
func TestSideBySide(t *testing.T) {
	now := time.Now()
	budget, hedge := protect.NewBudget(protect.BudgetConfig{}, now), protect.NewHedge(protect.HedgeConfig{}, now)
	breaker := protect.NewBreaker(protect.BreakerConfig{On: true}, now)
	rates := protect.NewRateLimiters(5, func(string) protect.Rate { return protect.Rate{PerSecond: 1000} }, now)
	adaptive := protect.NewAdaptive(protect.AdaptiveConfig{Samples: 5}, now)
	var done sync.WaitGroup
	queue := protect.NewQueue(protect.QueueConfig{Most: 50}, func(int, protect.Reason) { done.Done() }, now)
	var all sync.WaitGroup
	for c := range 4 {
		all.Go(func() {
			for i := range 1000 {
				now := now.Add(time.Duration(i) * 100 * time.Microsecond)
				budget.Call()
				budget.Spend(now)
				hedge.Call()
				hedge.Ended(time.Duration(i) * time.Microsecond)
				hedge.After()
				hedge.Extra(0, now)
				if p, ok := breaker.Allow(now); ok {
					breaker.Done(p, now, protect.Verdict(i/7%3))
				}
				breaker.Ready(now)
				rates.Of(fmt.Sprint(i%9), now).Allow(1, now)
				if i%300 == 0 {
					rates.Reset(now)
				}
				if adaptive.Enter() {
					adaptive.Leave(time.Millisecond, now)
				}
				done.Add(1)
				queue.Push(i, time.Time{}, now)
				if _, ok := queue.Pop(now); ok && c > 0 {
					done.Done()
				} else if ok {
					queue.Push(i, time.Time{}, now)
				}
			}
		})
	}
	all.Wait()
	for _, ok := queue.Pop(now); ok; _, ok = queue.Pop(now) {
		done.Done()
	}
	done.Wait()
}
