package balance

import (
	"sync/atomic"

	"trefoil/abstract"
)

// RoundRobin takes turns, whatever the weights: with n instances, each of n calls
// in a row goes to another one. The zero value begins with the first one. It is a
// Balancer, and without a Group a Picker. Safe for concurrent use.
type RoundRobin struct {
	drawn
	turn atomic.Uint64
}

var (
	_ abstract.Picker = (*RoundRobin)(nil)
	_ Balancer        = (*RoundRobin)(nil)
)

// NewRoundRobin makes a RoundRobin that begins anywhere, so that many clients
// which start together do not march in step.
func NewRoundRobin() *RoundRobin { return newRoundRobin(nil) }

func newRoundRobin(rnd Rand) *RoundRobin {
	r := NewRoundRobinAt(rnd.next())
	r.rnd = rnd
	return r
}

// NewRoundRobinAt makes a RoundRobin that begins with a given turn.
func NewRoundRobinAt(turn uint64) *RoundRobin {
	r := new(RoundRobin)
	r.turn.Store(turn)
	return r
}

// Pick returns the next index: with n providers, each of n calls in a row gets
// another one. When their number changes, the turns go on from anywhere.
func (r *RoundRobin) Pick(list []abstract.Provider) int {
	turn := r.turn.Add(1) - 1
	return int(turn % uint64(len(list)))
}

// Choose returns whose turn it is. A new instance sits out some of its turns.
func (r *RoundRobin) Choose(c Call) *Member {
	s := r.from()
	n := uint64(len(s.list))
	turns := draws * n
	if c.Avoid != nil {
		turns = n
	}
	for range turns {
		i := (r.turn.Add(1) - 1) % n
		if s.ready(int(i), c.Now, r.rnd) && c.Accepts(s.list[i]) {
			return s.list[i]
		}
	}
	if n == 0 {
		return nil
	}
	return s.at(s.accepted(&c, r.rnd, -1))
}
