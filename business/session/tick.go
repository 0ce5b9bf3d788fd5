package session

import (
	"container/heap"
	"time"
)

// maxLooks bounds what one Tick does, as others wait for the lock that it is
// called under.
const maxLooks = 4096

// NextDeadline is when Tick has something to do; not ok while there is no session.
func (m *SessionManager) NextDeadline() (at time.Duration, ok bool) {
	if len(m.due) == 0 {
		return 0, false
	}
	return m.due[0].deadline, true
}

// Tick looks for signs of life where they are due, and returns the sessions that
// have expired. It does a bounded amount of work: call it again, without the lock
// in between, while NextDeadline is not after now.
//
// late is by how much Tick is called after the time it was meant for, 0 when that
// is not known. When it is called Config.Stall or more after that time or after
// NextDeadline, this process stood still, and signs of life may be waiting to be
// read: every session gets that time, and as much as Stall to read them. So call it
// at NextDeadline, or every half Stall.
func (m *SessionManager) Tick(now, late time.Duration) []Ended {
	if len(m.due) == 0 {
		return nil
	}
	if late = max(late, now-m.due[0].deadline); late >= m.cfg.Stall {
		m.stall(now, late+m.cfg.Stall)
	}
	var expired []Ended
	for n := 0; n < maxLooks && len(m.due) > 0 && m.due[0].deadline <= now; n++ {
		e := m.due[0]
		if m.look(e, now) {
			heap.Fix(&m.due, 0)
			continue
		}
		m.stats.expired++
		expired = append(expired, m.end(e))
	}
	return expired
}

// look judges a session whose deadline has come, and sets the next one. It returns
// false when the session has expired.
func (m *SessionManager) look(e *entry, now time.Duration) bool {
	e.catchUp(now)
	if e.heard > e.deadline-e.interval {
		e.missed = 0
		e.deadline = e.heard + e.interval
		return true
	}
	e.missed++
	m.stats.missed++
	e.deadline += e.interval
	return e.missed < e.misses
}

// stall makes the time that nobody looked not have passed. All deadlines move by
// the same, so the heap stays one.
func (m *SessionManager) stall(now, gap time.Duration) {
	m.stats.stalls++
	for _, e := range m.due {
		e.deadline += gap
		e.heard = max(e.heard, min(e.heard+gap, now))
	}
}
