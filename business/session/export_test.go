package session

import "fmt"

// Consistent says what is wrong with the inner order of a SessionManager.
func (m *SessionManager) Consistent() error {
	for i, e := range m.due {
		switch {
		case e.index != i:
			return fmt.Errorf("session %s stands at %d of the heap and believes %d", e.id, i, e.index)
		case i > 0 && m.due[(i-1)/2].deadline > e.deadline:
			return fmt.Errorf("session %s at %d of the heap is due before its parent", e.id, i)
		case e.ending || m.sessions[e.id] != e:
			return fmt.Errorf("session %s is in the heap and not alive", e.id)
		}
	}
	for id, e := range m.sessions {
		if e.id != id || !e.ending && (e.index >= len(m.due) || m.due[e.index] != e) {
			return fmt.Errorf("session %s is alive and not in the heap", id)
		}
		if e.ending && !e.planned && e.revision == 0 {
			return fmt.Errorf("session %s is over, nowhere stored, and still here", id)
		}
	}
	return nil
}
