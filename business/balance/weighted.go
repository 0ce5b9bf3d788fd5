package balance

import (
	"slices"
	"sync/atomic"
)

// Weighted takes turns by weight. In each round every member gets one call at
// most, the heaviest exactly one; lighter ones sit out rounds, each at another
// time. So shares are exact and calls to one instance are spread out. No lock: a
// counter says whose turn it is (the static stride scheduler of gRPC's weighted
// round robin, proposal A58). Make it with NewWeighted.
type Weighted struct {
	drawn
	turn atomic.Uint64
	laps atomic.Pointer[laps]
}

var _ Balancer = (*Weighted)(nil)

// laps are the weights as parts of the heaviest.
type laps struct {
	*sampler
	part []uint64
}

// whole is the part of the heaviest; a power of two, so that counters may wrap.
const whole = 1 << 20

// NewWeighted makes a Weighted that begins anywhere; nil is the usual source of
// random numbers.
func NewWeighted(rnd Rand) *Weighted {
	b := new(Weighted)
	b.rnd = rnd
	b.turn.Store(rnd.next() >> 1)
	return b
}

// Change takes the members and their weights.
func (b *Weighted) Change(m Members) {
	s := newSampler(m.List)
	l := &laps{sampler: s, part: make([]uint64, len(s.list))}
	heaviest := slices.Max(append([]float64{0}, s.weight...))
	for i, w := range s.weight {
		l.part[i] = max(1, uint64(w/heaviest*whole+0.5))
	}
	b.laps.Store(l)
}

// Choose returns whose turn it is.
func (b *Weighted) Choose(c Call) *Member {
	l := b.laps.Load()
	if l == nil || len(l.list) == 0 {
		return nil
	}
	if c.Avoid != nil {
		return l.at(l.accepted(&c, b.rnd, -1))
	}
	n := uint64(len(l.list))
	for range draws * n {
		turn := b.turn.Add(1)
		i, round := turn%n, turn/n
		// In steps of part, the sum passes a multiple of whole just as often as
		// the member has a turn. Where it starts keeps light members apart.
		if sum := (l.part[i]*round + i*(whole/2)) % whole; sum < whole-l.part[i] {
			continue
		}
		if l.ready(int(i), c.Now, b.rnd) {
			return l.list[i]
		}
	}
	return l.at(l.one(c.Now, b.rnd)) // new instances only, or nearly
}
