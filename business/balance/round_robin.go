// Package balance chooses who gets a call.
package balance

import (
	"math/rand/v2"
	"sync/atomic"

	"trefoil/abstract"
)

// RoundRobin takes turns among providers. The zero value begins with the first
// one. Safe for concurrent use.
type RoundRobin struct{ turn atomic.Uint64 }

var _ abstract.Picker = (*RoundRobin)(nil)

// NewRoundRobin makes a RoundRobin that begins anywhere, so that many clients
// which start together do not march in step.
func NewRoundRobin() *RoundRobin { return NewRoundRobinAt(rand.Uint64()) }

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
