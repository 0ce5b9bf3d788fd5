package session

// stats counts since the start.
type stats struct {
	opened, resumed, refused, closed, expired, missed, stalls uint64
	beats                                                     [beatResults]uint64
}

// Stats is what a SessionManager has counted since it was made, and what it holds.
type Stats struct {
	Sessions int // alive
	Stored   int // of these, as far as is known
	Ending   int // over, and still in the Store

	Opened  uint64
	Resumed uint64
	Refused uint64 // HELLOs that knew a session's secret and may not go on with it
	Closed  uint64 // by their owners
	Expired uint64
	Missed  uint64 // intervals without a sign of life
	Stalls  uint64 // times this process stood still

	Beats     uint64 // heartbeats that renewed a session
	Malformed uint64 // datagrams that did not, see Beat
	Unknown   uint64
	Replayed  uint64
	Forged    uint64
}

// Stats returns the counters. It looks at every session.
func (m *SessionManager) Stats() Stats {
	s := Stats{
		Sessions: len(m.due), Ending: len(m.sessions) - len(m.due),
		Opened: m.stats.opened, Resumed: m.stats.resumed, Refused: m.stats.refused, Closed: m.stats.closed, Expired: m.stats.expired,
		Missed: m.stats.missed, Stalls: m.stats.stalls,
		Beats: m.stats.beats[BeatRenewed], Malformed: m.stats.beats[BeatMalformed], Unknown: m.stats.beats[BeatUnknown],
		Replayed: m.stats.beats[BeatReplayed], Forged: m.stats.beats[BeatForged],
	}
	for _, e := range m.due {
		if e.revision != 0 {
			s.Stored++
		}
	}
	return s
}
