package balance

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// sampler draws members at random, by weight and slow start. It never changes; a
// change of members makes a new one. The weighted draw is the alias method (Walker
// 1977, in Vose's form of 1991): one random number, whatever the number of members.
type sampler struct {
	list   []*Member
	weight []float64
	usual  float64  // the mean weight
	keep   []uint64 // of 2^64: how likely a draw of i stays there; nil when all weights are the same
	other  []int    // where it goes instead
	oldest *Member
	warm   time.Time // from then on nobody is new
}

func newSampler(list []*Member) *sampler {
	s := &sampler{list: list, weight: make([]float64, len(list))}
	total, even := 0.0, true
	for i, m := range list {
		s.weight[i] = m.Instance().weight()
		total += s.weight[i]
		even = even && s.weight[i] == s.weight[0]
		if warm := m.base.Add(time.Duration(m.since.Load()) + m.ramp); s.warm.Before(warm) {
			s.warm = warm
		}
		if s.oldest == nil || m.since.Load() < s.oldest.since.Load() {
			s.oldest = m
		}
	}
	s.usual = total / float64(len(list))
	if !even {
		s.build(total)
	}
	return s
}

// build fills the alias table.
func (s *sampler) build(total float64) {
	n := len(s.list)
	s.keep, s.other = make([]uint64, n), make([]int, n)
	left := make([]float64, n)
	var small, large []int
	for i, w := range s.weight {
		left[i] = w / total * float64(n)
		if left[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		a, b := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		s.keep[a], s.other[a] = uint64(left[a]*(1<<63))<<1, b
		if left[b] += left[a] - 1; left[b] < 1 {
			large = large[:len(large)-1]
			small = append(small, b)
		}
	}
	for _, i := range append(small, large...) { // what rounding has left is as good as 1
		s.keep[i], s.other[i] = 1<<64-1, i
	}
}

// draw returns a member's index, by weight.
func (s *sampler) draw(rnd Rand) int {
	i, rest := bits.Mul64(rnd.next(), uint64(len(s.list)))
	if len(s.keep) == 0 || rest < s.keep[i] {
		return int(i)
	}
	return s.other[i]
}

// draws bounds how often something is drawn again that was not wanted.
const draws = 32

// one returns a member's index, by weight and slow start.
func (s *sampler) one(now time.Time, rnd Rand) int {
	i := s.draw(rnd)
	if !now.Before(s.warm) {
		return i
	}
	for range draws {
		if s.ready(i, now, rnd) {
			break
		}
		i = s.draw(rnd)
	}
	return i
}

// ready says whether a member that may be new takes its turn. The oldest always does.
func (s *sampler) ready(i int, now time.Time, rnd Rand) bool {
	if !now.Before(s.warm) {
		return true
	}
	share, most := s.list[i].Share(now), s.oldest.Share(now)
	return share >= most || rnd.share()*most < share
}

// two returns two members' indexes, which differ unless there is one only.
func (s *sampler) two(now time.Time, rnd Rand) (first, second int) {
	n := len(s.list)
	if n == 1 {
		return 0, 0
	}
	first = s.one(now, rnd)
	if len(s.keep) == 0 && !now.Before(s.warm) {
		skip, _ := bits.Mul64(rnd.next(), uint64(n-1))
		if second = int(skip); second >= first {
			second++
		}
		return first, second
	}
	for range draws {
		if second = s.one(now, rnd); second != first {
			return first, second
		}
	}
	return first, (first + 1) % n
}

// accepted is one for a call that avoids members; -1 when it avoids them all.
func (s *sampler) accepted(c *Call, rnd Rand, but int) int {
	total := 0.0
	for i, m := range s.list {
		if i != but && c.Accepts(m) {
			total += s.weight[i] * m.Share(c.Now)
		}
	}
	aim, last := rnd.share()*total, -1
	for i, m := range s.list {
		if i == but || !c.Accepts(m) {
			continue
		}
		last = i
		if aim -= s.weight[i] * m.Share(c.Now); aim < 0 {
			break
		}
	}
	return last
}

// pair is two for a call that may avoid members. Both are -1 when it avoids them
// all, and the same when there is one only.
func (s *sampler) pair(c *Call, rnd Rand) (first, second int) {
	if len(s.list) == 0 {
		return -1, -1
	}
	if c.Avoid == nil {
		return s.two(c.Now, rnd)
	}
	if first = s.accepted(c, rnd, -1); first < 0 {
		return -1, -1 // whoever is avoided may be accepted a moment later
	}
	if second = s.accepted(c, rnd, first); second < 0 {
		second = first
	}
	return first, second
}

// effective is a member's weight by now.
func (s *sampler) effective(i int, now time.Time) float64 {
	if !now.Before(s.warm) {
		return s.weight[i]
	}
	return s.weight[i] * s.list[i].Share(now)
}

// drawn is what balancers that draw from a sampler have in common.
type drawn struct {
	Passive
	rnd Rand
	set atomic.Pointer[sampler]
}

// Change takes the members to draw from.
func (d *drawn) Change(m Members) { d.set.Store(newSampler(m.List)) }

// from is the sampler of now; of no members before the first Change.
func (d *drawn) from() *sampler {
	if s := d.set.Load(); s != nil {
		return s
	}
	return new(sampler)
}

// at is the member of an index; nil for -1.
func (s *sampler) at(i int) *Member {
	if i < 0 {
		return nil
	}
	return s.list[i]
}
