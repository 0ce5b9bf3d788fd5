package harness

import (
	"context"
	"runtime"
	"time"
)

// Pace calls fn once for each operation of a load of rate operations per second,
// for d, with the time at which the operation was meant to start (see Monotonic).
// fn must hand the operation over and return at once; measure latency from due,
// so that a system that stalls is not spared the operations it would have met.
// Pace never skips: after a stall it catches up. It returns the number of
// operations, early when ctx ends.
func Pace(ctx context.Context, rate float64, d time.Duration, fn func(due int64)) int {
	runtime.LockOSThread() // it sleeps on its thread, precisely
	defer runtime.UnlockOSThread()
	total := int(rate * d.Seconds())
	step := 1e9 / rate
	begin := Monotonic()
	for i := range total {
		due := begin + int64(float64(i)*step)
		if Monotonic() < due {
			if ctx.Err() != nil {
				return i
			}
			sleepUntil(due)
		}
		fn(due)
	}
	return total
}
