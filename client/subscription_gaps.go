package client

import "slices"

// placedGap is a Gap with its place among the messages that wait: so many are in front
// of it.
type placedGap struct {
	Gap
	at int
}

// note keeps a gap behind what waits, for OnGap. It is called with the lock held, as what
// follows is, but for tell.
func (s *Subscription) note(g Gap) { s.noteAt(len(s.waiting), g) }

// noteAt keeps a gap in front of all that is noted behind at messages. What is counted and
// stands at one place is one gap.
func (s *Subscription) noteAt(at int, g Gap) {
	if s.asks.gap == nil {
		return
	}
	i := 0
	for i < len(s.gaps) && s.gaps[i].at <= at {
		i++
	}
	if i > 0 && s.gaps[i-1].at == at && !s.gaps[i-1].Unrecovered && !g.Unrecovered {
		s.gaps[i-1].Missed += g.Missed
		return
	}
	s.gaps = slices.Insert(s.gaps, i, placedGap{g, at})
}

// pass notes that the first n messages that waited do so no more.
func (s *Subscription) pass(n int) {
	for i := range s.gaps {
		s.gaps[i].at = max(0, s.gaps[i].at-n)
	}
}

// due returns the gaps in front of the first n messages, which have been taken, and those
// behind them when rest says so, and nothing else waits.
func (s *Subscription) due(n int, rest bool) []placedGap {
	rest = rest && len(s.waiting) == 0
	i := 0
	for i < len(s.gaps) && (s.gaps[i].at < n || rest) {
		i++
	}
	gaps := s.gaps[:i:i]
	if s.gaps = s.gaps[i:]; len(s.gaps) == 0 {
		s.gaps = nil
	}
	s.pass(n)
	return gaps
}

// tell calls OnGap for the gaps that stand before the message at a place, and returns the
// others.
func (s *Subscription) tell(gaps []placedGap, at int) []placedGap {
	for len(gaps) > 0 && gaps[0].at <= at {
		s.asks.gap(gaps[0].Gap)
		gaps = gaps[1:]
	}
	return gaps
}
