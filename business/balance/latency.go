package balance

// Latency draws two members by weight and gives the call to the one that would
// have it done sooner: the peak of its latencies lately, times the calls it has
// and this one. A peak counts at once and fades in ten seconds (the peak EWMA of
// Finagle and Linkerd, with two choices instead of a heap). It suits instances of
// different speed; LeastPending is calmer. Make it with NewLatency.
type Latency struct{ drawn }

var _ Balancer = (*Latency)(nil)

// NewLatency makes a Latency; nil is the usual source of random numbers.
func NewLatency(rnd Rand) *Latency {
	b := new(Latency)
	b.rnd = rnd
	return b
}

// Choose draws two members and takes the better.
func (b *Latency) Choose(c Call) *Member {
	s := b.from()
	i, j := s.pair(&c, b.rnd)
	if i == j {
		return s.at(i)
	}
	if s.cost(j, &c) < s.cost(i, &c) {
		return s.list[j]
	}
	return s.list[i]
}

// untried is the latency that is assumed, in nanoseconds, of an instance that has
// a call and has not answered any: it gets its first, and then waits for the answer.
const untried = 1e12

// cost is how long a member would take. Its weight counts for the calls that wait
// there only: for being drawn it has counted already.
func (s *sampler) cost(i int, c *Call) float64 {
	m := s.list[i]
	pending, took := float64(m.pending.Load()), m.seen.peak(m.at(c.Now))
	if took == 0 && pending > 0 {
		took = untried
	}
	return took * (pending*s.usual/s.effective(i, c.Now) + 1)
}
