package protect

import (
	"time"

	"trefoil/abstract"
)

// Margin is what is kept of a call's time for the way back: a call that a handler
// makes on behalf of its caller must end so much before that caller gives up, or
// its answer, even an error, is of use to nobody. The zero value is the default.
type Margin struct {
	Part  float64       // of what is left; default 0.05
	Least time.Duration // default 1 ms
	Most  time.Duration // default 100 ms
}

// of is the margin when so much is left.
func (m Margin) of(left time.Duration) time.Duration {
	part := time.Duration(float64(left) * or(m.Part, 0.05))
	return min(max(part, or(m.Least, time.Millisecond)), or(m.Most, 100*time.Millisecond))
}

// Left is how long a further call may take. A zero deadline is none: the answer is
// 0 and ok. Not ok: the time is used up, the call must not begin.
func (m Margin) Left(deadline, now time.Time) (left time.Duration, ok bool) {
	if deadline.IsZero() {
		return 0, true
	}
	left = deadline.Sub(now)
	left -= m.of(left)
	return max(0, left), left > 0
}

// Deadline is when a request must be answered that says how many milliseconds its
// caller still waits, and came at now; zero when it does not say. Time on the wire
// is not known and not counted; it is what a Margin is for.
func Deadline(timeoutMs int64, now time.Time) time.Time {
	if timeoutMs <= 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(min(timeoutMs, longest)) * time.Millisecond)
}

// longest keeps a deadline from overflowing: a hundred years.
const longest = 100 * 365 * 24 * 3600 * 1000

// Begin says whether work may begin that must end by deadline: nil, or why it
// must be refused. Least is how long the work takes at least, as far as that is known.
func Begin(deadline, now time.Time, least time.Duration) error {
	if deadline.IsZero() || deadline.Sub(now) > least {
		return nil
	}
	return abstract.Errorf(abstract.Timeout, "the call's time was over before its work began; call with a longer timeout, or later")
}
