// Package balance chooses who gets a call.
package balance

import (
	"math/rand/v2"
	"sync/atomic"

	"trefoil/abstract"
)

// RoundRobin takes turns among providers. Safe for concurrent use.
type RoundRobin struct{ next atomic.Uint64 }

var _ abstract.Picker = (*RoundRobin)(nil)

// NewRoundRobin makes a RoundRobin that begins anywhere, so that many clients
// that start together do not all begin with the same provider.
func NewRoundRobin() *RoundRobin {
	r := new(RoundRobin)
	r.next.Store(rand.Uint64N(1 << 32))
	return r
}

// Pick returns the next index. When the list changes its length the turns go on
// from wherever that leads.
func (r *RoundRobin) Pick(list []abstract.Provider) int {
	return int(r.next.Add(1) % uint64(len(list)))
}
