package balance

// LeastPending draws two members by weight and gives the call to the one that has
// fewer calls in flight for its weight. It is the default. Drawing two and taking
// the better is all but as good as looking at all of them, and does not send
// everybody to the same one at once (Mitzenmacher, the power of two choices, 2001).
//
// When two have the same in flight, mostly nothing, the one drawn first gets the
// call, unless it was lately clearly slower than the other: a caller that
// makes one call at a time would else give a slow instance its full share. Make it
// with NewLeastPending.
type LeastPending struct{ drawn }

var _ Balancer = (*LeastPending)(nil)

// NewLeastPending makes a LeastPending; nil is the usual source of random numbers.
func NewLeastPending(rnd Rand) *LeastPending {
	b := new(LeastPending)
	b.rnd = rnd
	return b
}

// clearly is how many times slower an instance must be to lose a draw.
const clearly = 2

// Choose draws two members and takes the better.
func (b *LeastPending) Choose(c Call) *Member {
	s := b.from()
	i, j := s.pair(&c, b.rnd)
	if i == j {
		return s.at(i)
	}
	first, second := s.list[i], s.list[j]
	one := float64(first.pending.Load()) * s.effective(j, c.Now)
	two := float64(second.pending.Load()) * s.effective(i, c.Now)
	switch {
	case one < two:
		return first
	case two < one:
		return second
	}
	if first.seen.slower(&second.seen, clearly) {
		return second
	}
	return first
}
