package harness

import (
	"context"
	"sync"
	"time"
)

// longestSleep is how long an interrupt may have to wait for a sleep.
const longestSleep = 20 * time.Millisecond

// Schedule gives out the times at which the operations of a fixed-rate load are
// meant to start. It never skips any: after a stall, what was due meanwhile is
// given out at once. Measure latency from them, so that a system that stalls is
// not spared the operations it would have met. Safe for concurrent use: whoever
// is free to start an operation asks for the next one, and nobody has to hand it
// over, which would be the limit of cheap operations.
type Schedule struct {
	mu    sync.Mutex // held while waiting for the next operation: others' come later
	begin int64
	step  float64
	given int64
	alarm *alarm
}

// NewSchedule starts a Schedule of rate operations per second; the first is due at
// once. The caller closes it when nobody uses it any more.
func NewSchedule(rate float64) *Schedule {
	return &Schedule{begin: Monotonic(), step: 1e9 / rate, alarm: newAlarm()}
}

// Close frees the timer.
func (s *Schedule) Close() { s.alarm.close() }

// Next waits until an operation is due that nobody else has got, and returns when
// it was meant to start (see Monotonic). late is by how much the wait overslept;
// negative when the operation was overdue and there was no wait. ok is false when
// over, which is asked every now and then with the time of the next operation,
// says that the load is.
func (s *Schedule) Next(over func(due int64) bool) (due int64, late time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due = s.begin + int64(float64(s.given)*s.step)
	late = -1
	for left := due - Monotonic(); left > 0; left = due - Monotonic() {
		if over(due) {
			return 0, 0, false
		}
		s.alarm.sleep(min(time.Duration(left), longestSleep))
		late = max(0, time.Duration(Monotonic()-due))
	}
	if over(due) {
		return 0, 0, false
	}
	s.given++
	return due, late, true
}

// Pace calls fn once for each operation of a load of rate operations per second,
// for d, with the time at which the operation was meant to start; see Schedule.
// fn must hand the operation over and return at once. Pace returns the number of
// operations, early when ctx ends.
func Pace(ctx context.Context, rate float64, d time.Duration, fn func(due int64)) int {
	s := NewSchedule(rate)
	defer s.Close()
	total := int(rate * d.Seconds())
	for i := range total {
		due, _, ok := s.Next(func(int64) bool { return ctx.Err() != nil })
		if !ok {
			return i
		}
		fn(due)
	}
	return total
}
