// Package balance chooses who gets a call.
//
// A Group holds the instances of one method and is what a client talks to: it is
// told who there is (Update), asked for one of them (Pick), and told how the call
// went (End). It keeps what is needed to choose well: calls in flight and
// latency of each instance, slow start of new ones, ejection of those that fail.
// The choice itself is a Balancer's, of which there are several here; NewGroup
// takes any other.
//
// Nothing here knows a socket or a clock: the time is a parameter, and random
// numbers can be given. Everything is safe for concurrent use.
package balance

import (
	"math/rand/v2"
	"time"

	"trefoil/abstract"
)

// Balancer chooses among the members of one Group. Implement it to choose in a
// way of your own; embed Passive when you need not know of calls. Change, Begin
// and End are told by the Group. Choose, Begin and End are called by many
// goroutines at a time and must not block; they may run while Change does.
type Balancer interface {
	// Change tells who there is from now on. Calls of it come one at a time.
	Change(m Members)
	// Choose returns one of the members that may be chosen and that the call
	// accepts; nil when there is none.
	Choose(c Call) *Member
	// Begin tells that a member was given a call: the one that Choose has
	// just returned, or one that an ejected member is tried with. The member's
	// Pending counts it already.
	Begin(m *Member, now time.Time)
	// End tells how a call ended. The member's Pending counts it no more. The
	// member may have left since.
	End(m *Member, now time.Time, r Result)
}

// Members are the members of a Group at some time. The slices must not be changed.
type Members struct {
	List []*Member // may be chosen
	Away []*Member // may not: they are draining or ejected
}

// Call is what is to be known of a call when an instance is chosen for it.
type Call struct {
	Now   time.Time
	Key   string             // calls of the same key go to the same instance, with a balancer that goes by it
	Avoid func(*Member) bool // says which members not to take, such as those that failed this call; nil: take any
	Away  bool               // an ejected one is better than nobody: there may be one that is not avoided
}

// Accepts says whether the call may go to m.
func (c *Call) Accepts(m *Member) bool { return c.Avoid == nil || !c.Avoid(m) }

// Result is how a call went.
type Result struct {
	Latency time.Duration
	Outcome Outcome
}

// Outcome is what a call's end says of the instance that it was given to.
type Outcome uint8

// The outcomes.
const (
	OK         Outcome = iota // it answered
	Errored                   // it answered with an internal error; bad when others do not
	Failed                    // it gave no answer: not reached, lost, or too late
	Overloaded                // it refused, having too much to do
	Ignored                   // nothing: the caller gave up, or the request never got that far
)

// OutcomeOf is the outcome of a call that ended with err.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OK
	}
	switch abstract.CodeOf(err) {
	case abstract.Disconnected, abstract.Unavailable, abstract.Timeout, abstract.UnknownFate:
		return Failed
	case abstract.Internal:
		return Errored
	case abstract.Overloaded:
		return Overloaded
	case abstract.Cancelled, abstract.Draining:
		return Ignored
	}
	return OK
}

// String returns the outcome in a word.
func (o Outcome) String() string {
	names := [...]string{"ok", "errored", "failed", "overloaded", "ignored"}
	if int(o) < len(names) {
		return names[o]
	}
	return "unknown"
}

// Passive is for balancers that need not know when calls begin and end; embed it.
type Passive struct{}

// Begin does nothing.
func (Passive) Begin(*Member, time.Time) {}

// End does nothing.
func (Passive) End(*Member, time.Time, Result) {}

// Rand returns random numbers, all 64 bits of them. It must be safe for
// concurrent use where the balancer is. Nil stands for math/rand/v2's Uint64.
type Rand func() uint64

func (r Rand) next() uint64 {
	if r == nil {
		return rand.Uint64()
	}
	return r()
}

// share is a random number from 0 to 1, without 1.
func (r Rand) share() float64 { return float64(r.next()>>11) / (1 << 53) }
