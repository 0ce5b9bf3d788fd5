package balance

import (
	"math"
	"sync/atomic"
)

// Hash gives calls of the same Key to the same instance, as long as that has not
// much more in flight than the others: above a bound, the key's next choice gets
// the call (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded
// Loads", 2016). The order of choices is made by rendezvous hashing (Thaler,
// Ravishankar 1998), by weight: each pair of key and instance has a number, the
// highest comes first. So no tables are needed, shares are exact, when one of n
// leaves only its keys move, to all others alike, and every process agrees.
//
// A call without a Key goes anywhere. New instances have their keys at once, there
// is no slow start. Choosing takes time in proportion to the number of instances.
// Make it with NewHash.
type Hash struct {
	Passive
	bound float64
	rnd   Rand
	ring  atomic.Pointer[ring]
}

var _ Balancer = (*Hash)(nil)

// ring is what keys choose from.
type ring struct {
	list   []*Member
	place  []uint64
	part   []float64 // of the weight of all
	evenly bool
}

// DefaultBound is how many times the mean of calls in flight an instance of a Hash
// may have.
const DefaultBound = 1.25

// NewHash makes a Hash. The bound is in times of the mean; 0 is DefaultBound, and
// one below 1 is taken as 1.
func NewHash(bound float64, rnd Rand) *Hash {
	if bound == 0 {
		bound = DefaultBound
	}
	return &Hash{bound: max(1, bound), rnd: rnd}
}

// Change takes the members to choose from.
func (b *Hash) Change(m Members) {
	r := &ring{list: m.List, place: make([]uint64, len(m.List)), part: make([]float64, len(m.List)), evenly: true}
	total := 0.0
	for i, m := range m.List {
		r.place[i] = m.Instance().place()
		r.part[i] = m.Instance().weight()
		total += r.part[i]
		r.evenly = r.evenly && r.part[i] == r.part[0]
	}
	for i := range r.part {
		r.part[i] /= total
	}
	b.ring.Store(r)
}

// Choose returns the first of the key's choices that is not full.
func (b *Hash) Choose(c Call) *Member {
	r := b.ring.Load()
	if r == nil {
		return nil
	}
	key := b.number(c.Key)
	pending := int64(1) // with this call
	for _, m := range r.list {
		pending += m.pending.Load()
	}
	limit := b.bound * float64(pending)
	if m := r.first(&c, key, limit); m != nil {
		return m
	}
	return r.first(&c, key, math.MaxFloat64) // those that the call avoids are the only ones with room
}

// first returns the first of a key's choices that has less in flight than its part
// of limit, rounded up.
func (r *ring) first(c *Call, key uint64, limit float64) (best *Member) {
	most := math.Inf(-1)
	for i, m := range r.list {
		if float64(m.pending.Load()) >= limit*r.part[i] || !c.Accepts(m) {
			continue
		}
		if score := r.score(i, key); score > most {
			most, best = score, m
		}
	}
	return best
}

// score is the number of a key and an instance. With weights it is minus an
// exponential variable's value, of which the smallest wins in proportion to its rate.
func (r *ring) score(i int, key uint64) float64 {
	u := (float64(mix(key^r.place[i])>>11) + 0.5) / (1 << 53)
	if r.evenly {
		return u
	}
	return math.Log(u) / r.part[i]
}

// number is a key's; any for no key.
func (b *Hash) number(key string) uint64 {
	if key == "" {
		return b.rnd.next()
	}
	return hashed(key)
}
