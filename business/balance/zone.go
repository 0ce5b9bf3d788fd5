package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// Zone keeps calls in their own zone as long as that has healthy capacity, and
// lets what is too much spill over to the other zones:
//
//   - of the instances by weight, it may do without 2 of 7 (Envoy's
//     overprovisioning factor of 1.4); when fewer are left, draining and ejected
//     ones not counted, the missing part of the calls goes elsewhere;
//   - when local instances answer that they are overloaded, a part of the calls
//     goes elsewhere that grows with every such answer and shrinks with every
//     other one (additive increase, multiplicative decrease);
//   - when the instance chosen has ZoneConfig.MaxPending calls in flight already,
//     the call goes elsewhere.
//
// Inside a zone, and among all others, balancers of its own choose. Without a zone
// of one's own, or with nobody in it, all calls go to the others. Make it with NewZone.
type Zone struct {
	cfg    ZoneConfig
	local  Balancer
	remote Balancer
	state  atomic.Pointer[zoneState]
	spill  atomic.Uint64 // float64: the part that goes elsewhere because of overload
}

var _ Balancer = (*Zone)(nil)

// ZoneConfig says how a Zone works.
type ZoneConfig struct {
	Own        string          // the caller's zone
	Inner      func() Balancer // makes the two balancers; default NewLeastPending
	MaxPending int             // of one local instance of DefaultWeight; default 0: no limit
	Rand       Rand            // nil is the usual source of random numbers
}

type zoneState struct {
	local, remote bool    // whether there is anybody
	healthy       float64 // the part of the calls that the local instances can take
}

// NewZone makes a Zone.
func NewZone(cfg ZoneConfig) *Zone {
	if cfg.Inner == nil {
		cfg.Inner = func() Balancer { return NewLeastPending(cfg.Rand) }
	}
	return &Zone{cfg: cfg, local: cfg.Inner(), remote: cfg.Inner()}
}

// overprovisioned says how many times what is needed a zone is taken to have.
const overprovisioned = 1.4

// Change takes the members and splits them by zone.
func (b *Zone) Change(m Members) {
	here, there := b.split(m.List)
	away, elsewhere := b.split(m.Away)
	b.local.Change(Members{List: here, Away: away})
	b.remote.Change(Members{List: there, Away: elsewhere})
	s := &zoneState{local: len(here) > 0, remote: len(there) > 0}
	if s.local {
		up, down := weightOf(here), weightOf(away)
		s.healthy = min(1, overprovisioned*up/(up+down))
	}
	b.state.Store(s)
}

func (b *Zone) split(list []*Member) (here, there []*Member) {
	for _, m := range list {
		if b.isLocal(m) {
			here = append(here, m)
		} else {
			there = append(there, m)
		}
	}
	return here, there
}

func weightOf(list []*Member) (sum float64) {
	for _, m := range list {
		sum += m.Instance().weight()
	}
	return sum
}

func (b *Zone) isLocal(m *Member) bool { return b.cfg.Own != "" && m.Instance().Zone == b.cfg.Own }

// Choose chooses the zone, and in it the member.
func (b *Zone) Choose(c Call) *Member {
	s := b.state.Load()
	switch {
	case s == nil:
		return nil
	case !s.local:
		return b.remote.Choose(c)
	case !s.remote:
		return b.local.Choose(c)
	}
	stay := s.healthy * (1 - load(&b.spill))
	if stay < 1 && b.cfg.Rand.share() >= stay {
		return either(b.remote, b.local, c)
	}
	m := b.local.Choose(c)
	if m != nil && !b.full(m) {
		return m
	}
	if r := b.remote.Choose(c); r != nil {
		return r
	}
	return m
}

// either chooses from the first, or when there is nobody for the call from the second.
func either(first, second Balancer, c Call) *Member {
	if m := first.Choose(c); m != nil {
		return m
	}
	return second.Choose(c)
}

func (b *Zone) full(m *Member) bool {
	return b.cfg.MaxPending > 0 &&
		float64(m.pending.Load()) >= float64(b.cfg.MaxPending)*m.Instance().weight()/DefaultWeight
}

// Begin tells the zone's balancer.
func (b *Zone) Begin(m *Member, now time.Time) { b.of(m).Begin(m, now) }

// End tells the zone's balancer, and learns whether the own zone is overloaded.
func (b *Zone) End(m *Member, now time.Time, r Result) {
	if !b.isLocal(m) {
		b.remote.End(m, now, r)
		return
	}
	b.local.End(m, now, r)
	switch r.Outcome {
	case Overloaded:
		b.learn(spillMore)
	case OK, Errored:
		if load(&b.spill) > 0 {
			b.learn(spillLess)
		}
	}
}

// How the spilled part moves: with every answer "overloaded" two hundredths more,
// with every other one a thousandth of it less. In balance the own zone refuses one
// call in fifty at a spill of four tenths.
const (
	spillStep   = 0.02
	spillShrink = 0.001
	mostSpilled = 0.95
)

func spillMore(spill float64) float64 { return min(mostSpilled, spill+spillStep) }

func spillLess(spill float64) float64 {
	if spill *= 1 - spillShrink; spill < spillShrink {
		return 0
	}
	return spill
}

func (b *Zone) learn(next func(float64) float64) {
	for {
		old := b.spill.Load()
		if b.spill.CompareAndSwap(old, math.Float64bits(next(math.Float64frombits(old)))) {
			return
		}
	}
}

func (b *Zone) of(m *Member) Balancer {
	if b.isLocal(m) {
		return b.local
	}
	return b.remote
}
