package main

import (
	"context"
	"time"
)

// pacer waits for moments that are counted from its beginning. It is for one goroutine.
type pacer struct {
	begun time.Time
	alarm *alarm // nil: Go's own timers

	worst, total time.Duration // how late it was
	waits        int
}

func newPacer() *pacer { return &pacer{begun: time.Now(), alarm: newAlarm()} }

// until waits until d has passed since the beginning, or ctx ends, whose error it returns.
func (p *pacer) until(ctx context.Context, d time.Duration) error {
	due := p.begun.Add(d)
	if p.alarm != nil {
		sleepUntil(ctx, p.alarm, due)
	} else if left := time.Until(due); left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	late := max(0, time.Since(due))
	p.worst, p.total = max(p.worst, late), p.total+late
	p.waits++
	return ctx.Err()
}

// passed is the time since the beginning.
func (p *pacer) passed() time.Duration { return time.Since(p.begun) }

// late is how late it was, on average.
func (p *pacer) late() time.Duration {
	if p.waits == 0 {
		return 0
	}
	return p.total / time.Duration(p.waits)
}

func (p *pacer) close() {
	if p.alarm != nil {
		p.alarm.close()
	}
}
