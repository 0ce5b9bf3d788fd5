package protect_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/abstract"
	"trefoil/business/protect"
)

// chain is what comes of a call that goes through five services, of which the last
// does not answer: whether each of them heard of that before its own caller gave up.
func chain(left func(deadline, now time.Time) (time.Duration, bool), timeout time.Duration) (heard int) {
	w := newWorld(1)
	const wire, services = 500 * time.Microsecond, 5
	// call makes a call of a service, and says when its caller knows of its end.
	var call func(service int, timeout time.Duration) (known time.Time, answered bool)
	call = func(service int, timeout time.Duration) (time.Time, bool) {
		gives := w.now.Add(timeout)
		w.now = w.now.Add(wire)
		deadline := protect.Deadline(timeout.Milliseconds(), w.now)
		if service == services {
			return gives, false // it hangs
		}
		w.now = w.now.Add(100 * time.Microsecond) // of work
		until := w.now
		if rest, ok := left(deadline, w.now); ok {
			until, _ = call(service+1, rest)
		}
		back := until.Add(wire) // with the error
		if back.After(gives) {
			return gives, false
		}
		heard++
		return back, true
	}
	call(1, timeout)
	return heard
}

func TestErrorsComeBackInTime(t *testing.T) {
	margin := func(deadline, now time.Time) (time.Duration, bool) {
		return protect.Margin{}.Left(deadline, now)
	}
	none := func(deadline, now time.Time) (time.Duration, bool) {
		return deadline.Sub(now), deadline.After(now)
	}
	for _, timeout := range []time.Duration{30 * time.Millisecond, 100 * time.Millisecond, time.Second, 5 * time.Second} {
		assert.Equal(t, 4, chain(margin, timeout), timeout)
		assert.Less(t, chain(none, timeout), 4, "planted: no margin, %v", timeout)
	}
}

func TestAUsedUpBudgetBeginsNothing(t *testing.T) {
	w := newWorld(1)
	in := func(d time.Duration) time.Time { return w.now.Add(d) }
	tests := []struct {
		name     string
		deadline time.Time
		want     time.Duration
		ok       bool
	}{
		{"no deadline", time.Time{}, 0, true},
		{"a second: a twentieth is kept", in(time.Second), 950 * time.Millisecond, true},
		{"little: a millisecond is kept", in(5 * time.Millisecond), 4 * time.Millisecond, true},
		{"a minute: 100 ms are kept", in(time.Minute), time.Minute - 100*time.Millisecond, true},
		{"less than the margin", in(time.Millisecond), 0, false},
		{"nothing", w.now, 0, false},
		{"past", in(-time.Second), 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			left, ok := protect.Margin{}.Left(tt.deadline, w.now)
			assert.Equal(t, tt.want, left)
			assert.Equal(t, tt.ok, ok)
		})
	}
	assert.NoError(t, protect.Begin(time.Time{}, w.now, time.Hour))
	assert.NoError(t, protect.Begin(in(time.Second), w.now, 0))
	assert.ErrorIs(t, protect.Begin(in(time.Second), w.now, time.Second), abstract.ErrTimeout)
	assert.Equal(t, abstract.Timeout, abstract.CodeOf(protect.Begin(w.now, w.now, 0)))
}

// TestWorkThatNobodyWaitsForIsNotBegun: with deadlines on the wire, a server that
// was stalled does not work through what its callers have given up.
func TestWorkThatNobodyWaitsForIsNotBegun(t *testing.T) {
	stall := func(checks bool) (inVain int) {
		w := newWorld(1)
		var waiting []time.Time
		for range 1000 {
			waiting = append(waiting, protect.Deadline(w.rng.Int64N(400)+100, w.now))
		}
		w.now = w.now.Add(300 * time.Millisecond) // the stall
		for _, deadline := range waiting {
			if checks && protect.Begin(deadline, w.now, 100*time.Microsecond) != nil {
				continue
			}
			w.now = w.now.Add(100 * time.Microsecond)
			if w.now.After(deadline) {
				inVain++
			}
		}
		return inVain
	}
	assert.Zero(t, stall(true))
	assert.Greater(t, stall(false), 100, "planted: not checked")
}

func TestDeadlinesFromTheWire(t *testing.T) {
	w := newWorld(1)
	assert.True(t, protect.Deadline(0, w.now).IsZero())
	assert.True(t, protect.Deadline(-5, w.now).IsZero())
	assert.Equal(t, w.now.Add(1500*time.Millisecond), protect.Deadline(1500, w.now))
	assert.True(t, protect.Deadline(math.MaxInt64, w.now).After(w.now), "a peer may say anything")
}
