package protect_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/business/protect"
)

// goodPaths are what every call pays when all is well.
func goodPaths() map[string]func() {
	now := time.Now()
	budget, hedge := protect.NewBudget(protect.BudgetConfig{}, now), protect.NewHedge(protect.HedgeConfig{}, now)
	breaker := protect.NewBreaker(protect.BreakerConfig{On: true}, now)
	limiter := protect.NewRateLimiter(protect.Rate{PerSecond: 1e12}, now)
	rates := protect.NewRateLimiters(100, func(string) protect.Rate { return protect.Rate{PerSecond: 1e12} }, now)
	one, each := protect.NewConcurrency(10), protect.NewConcurrencies(func(string) int { return 10 })
	adaptive := protect.NewAdaptive(protect.AdaptiveConfig{}, now)
	queue := protect.NewQueue(protect.QueueConfig{}, func(*int, protect.Reason) {}, now)
	deadline, item := now.Add(time.Hour), new(int)
	return map[string]func(){
		"Budget":  budget.Call,
		"Backoff": func() { protect.Backoff{}.Pause(3, 0) },
		"Hedge": func() {
			hedge.Call()
			hedge.After()
			hedge.Ended(time.Millisecond)
		},
		"Breaker": func() {
			p, _ := breaker.Allow(now)
			breaker.Done(p, now, protect.Good)
		},
		"RateLimiter":  func() { limiter.Allow(1, now) },
		"RateLimiters": func() { rates.Of("somebody", now).Allow(1, now) },
		"Concurrency": func() {
			one.Enter()
			one.Leave()
		},
		"Adaptive": func() {
			adaptive.Enter()
			adaptive.Leave(time.Millisecond, now)
		},
		"Concurrencies": func() {
			each.Enter("somebody")
			each.Leave("somebody")
		},
		"Queue": func() {
			queue.Push(item, deadline, now)
			queue.Pop(now)
		},
		"Deadline": func() {
			d := protect.Deadline(500, now)
			if protect.Begin(d, now, 0) == nil {
				protect.Margin{}.Left(d, now)
			}
		},
	}
}

func TestNothingIsAllocatedWhenAllIsWell(t *testing.T) {
	for name, fn := range goodPaths() {
		assert.Zero(t, testing.AllocsPerRun(200, fn), name)
	}
}

func BenchmarkGoodPaths(b *testing.B) {
	for name, fn := range goodPaths() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				fn()
			}
		})
	}
}
