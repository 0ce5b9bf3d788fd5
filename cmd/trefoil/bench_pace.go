package main

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// pace gives out the times at which operations are meant to begin. With a rate
// they stand before the first operation begins, whatever the operations then
// take: whoever measures from there does not spare a system that stalls the
// operations it would have met.
type pace struct {
	rate   int
	due    chan time.Time // nil: whenever somebody asks
	ended  sync.WaitGroup
	handed atomic.Int64
}

// paceRoom is how many due times may wait for a worker: above it the pace waits
// too, and then catches up.
const paceRoom = 1024

// newPace gives out times from begun on, for d or until ctx ends.
func newPace(ctx context.Context, rate int, begun time.Time, d time.Duration) *pace {
	p := &pace{rate: rate}
	if rate > 0 {
		p.due = make(chan time.Time, paceRoom)
		p.ended.Go(func() { p.run(ctx, begun, p.within(d)) })
	}
	return p
}

// within is how many operations are due in the first d.
func (p *pace) within(d time.Duration) int64 { return int64(math.Ceil(float64(p.rate) * d.Seconds())) }

func (p *pace) run(ctx context.Context, begun time.Time, total int64) {
	a := newAlarm()
	defer a.close()
	for i := range total {
		due := begun.Add(time.Duration(float64(i) * float64(time.Second) / float64(p.rate)))
		sleepUntil(ctx, a, due)
		select {
		case p.due <- due:
		case <-ctx.Done():
			return
		}
	}
	close(p.due)
}

// next waits for the time of the next operation; there is none when ctx has ended.
func (p *pace) next(ctx context.Context) (due time.Time, ok bool) {
	if p.due == nil {
		return time.Now(), ctx.Err() == nil
	}
	select {
	case due, ok = <-p.due:
	case <-ctx.Done():
	}
	if ok {
		p.handed.Add(1)
	}
	return due, ok
}

// unsent is how many operations were due in the first d and have not begun.
func (p *pace) unsent(d time.Duration) int64 { return max(0, p.within(d)-p.handed.Load()) }

// longestSleep is how long an interrupt may have to wait for a sleep.
const longestSleep = 20 * time.Millisecond

// sleepUntil sleeps until a moment, or about until ctx ends.
func sleepUntil(ctx context.Context, a *alarm, moment time.Time) {
	for ctx.Err() == nil {
		left := time.Until(moment)
		if left <= 0 {
			return
		}
		a.sleep(min(left, longestSleep))
	}
}
