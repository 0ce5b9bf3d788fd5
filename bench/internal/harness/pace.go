package harness

import (
	"context"
	"time"
)

// longestSleep is how long an interrupt may have to wait for a sleep.
const longestSleep = 20 * time.Millisecond

// Pace calls fn once for each operation of a load of rate operations per second,
// for d, with the time at which the operation was meant to start (see Monotonic).
// fn must hand the operation over and return at once; measure latency from due,
// so that a system that stalls is not spared the operations it would have met.
// Pace never skips: after a stall it catches up. It returns the number of
// operations, early when ctx ends.
func Pace(ctx context.Context, rate float64, d time.Duration, fn func(due int64)) int {
	a := newAlarm()
	defer a.close()
	total := int(rate * d.Seconds())
	step := 1e9 / rate
	begin := Monotonic()
	for i := range total {
		due := begin + int64(float64(i)*step)
		for left := due - Monotonic(); left > 0; left = due - Monotonic() {
			if ctx.Err() != nil {
				return i
			}
			a.sleep(min(time.Duration(left), longestSleep))
		}
		fn(due)
	}
	return total
}
