package balance

// Random gives each call to any member, by weight. Make it with NewRandom.
type Random struct{ drawn }

var _ Balancer = (*Random)(nil)

// NewRandom makes a Random; nil is the usual source of random numbers.
func NewRandom(rnd Rand) *Random {
	b := new(Random)
	b.rnd = rnd
	return b
}

// Choose draws a member.
func (b *Random) Choose(c Call) *Member {
	s := b.from()
	switch {
	case len(s.list) == 0:
		return nil
	case c.Avoid != nil:
		return s.at(s.accepted(&c, b.rnd, -1))
	}
	return s.at(s.one(c.Now, b.rnd))
}
