package client

import (
	"context"
	"time"

	"trefoil/abstract"
	"trefoil/business/protect"
)

// WithDeadlineMargin sets what is kept of the time of a call that a handler serves,
// when it makes calls of its own with the handler's context, for the way back: part
// of what is left, at least 1 ms and at most most. The default is 0.05 and 100 ms;
// 0 or less keeps nothing.
func WithDeadlineMargin(part float64, most time.Duration) Option {
	return func(c *config) {
		c.margin = nil
		if part > 0 && most > 0 {
			c.margin = &protect.Margin{Part: part, Least: min(time.Millisecond, most), Most: most}
		}
	}
}

// within shortens a deadline by the margin, when ctx is that of a handler: its caller
// must hear of the outcome before it gives up.
func (c *config) within(ctx context.Context, now, deadline time.Time) (time.Time, error) {
	if c.margin == nil {
		return deadline, nil
	}
	call := abstract.CallOf(ctx)
	if call == nil {
		return deadline, nil
	}
	served, ok := call.CallDeadline()
	if !ok {
		return deadline, nil
	}
	left, ok := c.margin.Left(served, now)
	if !ok {
		return deadline, abstract.Errorf(abstract.Timeout, "the time of the call that is being served is over; its caller should wait longer")
	}
	if limit := now.Add(left); limit.Before(deadline) {
		return limit, nil
	}
	return deadline, nil
}
