package session

import (
	"bytes"
	"slices"
	"time"

	"trefoil/abstract"
)

// PlanStore returns what a transaction that makes something belong to the session
// needs: it fails when the session has ended by then, and stores a session that is
// not stored. Other than that the transaction is the caller's. One that does not
// succeed is planned again when its revision has been applied. The error is
// SessionExpired.
func (m *SessionManager) PlanStore(id ID) (ifs []abstract.Compare, then []abstract.Op, err error) {
	e := m.alive(id)
	if e == nil {
		return nil, nil, abstract.Errorf(abstract.SessionExpired, "session %s has ended; open a new one", id)
	}
	key := Key(id)
	if e.revision != 0 {
		return []abstract.Compare{{Key: key, Target: abstract.CompareMod, Rev: e.revision}}, nil, nil
	}
	e.planned = true
	r := e.record()
	return []abstract.Compare{{Key: key, Target: abstract.CompareCreate, Rev: 0}}, []abstract.Op{{Key: key, Value: r.value()}}, nil
}

// PlanEnd returns the transaction that tells the Store that a session has ended:
// from then on nothing can be made to belong to it, and a broker that starts again
// knows what it has to go on with. It is planned again when it has not succeeded
// and its revision has been applied. It is not ok when there is nothing to be
// told: delete the nodes.
func (m *SessionManager) PlanEnd(id ID) (t abstract.Txn, ok bool) {
	e := m.sessions[id]
	if e == nil || !e.ending || e.marked {
		return t, false
	}
	key := Key(id)
	r := e.record()
	return abstract.Txn{ // where it is stored by nobody yet, revision 0, who is about to will fail
		If:   []abstract.Compare{{Key: key, Target: abstract.CompareMod, Rev: e.revision}},
		Then: []abstract.Op{{Key: key, Value: r.value()}},
	}, true
}

// PlanForget returns the transaction that takes an ended session out of the Store:
// the last of its end, after its nodes. It is not ok when it is not there.
func (m *SessionManager) PlanForget(id ID) (t abstract.Txn, ok bool) {
	e := m.sessions[id]
	if e == nil || !e.marked {
		return t, false
	}
	return abstract.Txn{
		If:   []abstract.Compare{{Key: Key(id), Target: abstract.CompareMod, Rev: e.revision}},
		Then: []abstract.Op{{Key: Key(id), Delete: true}},
	}, true
}

// Apply takes a change of the Store in. Changes must come in order; one that was
// applied already is ignored, and so are keys that are not ours. It returns
// sessions that the Store says have ended, which as a rule are none: the ends that
// began here are known.
func (m *SessionManager) Apply(change abstract.Change, now time.Duration) []Ended {
	if change.Revision <= m.applied {
		return nil
	}
	m.applied = change.Revision
	var ended []Ended
	for i := range change.Events {
		ev := &change.Events[i]
		id, ok := parseKey(ev.KV.Key)
		switch {
		case !ok:
		case ev.Deleted:
			ended = m.drop(ended, id)
		default:
			ended = m.put(ended, id, &ev.KV, now)
		}
	}
	return ended
}

// Applied returns the revision of the last change that was taken in.
func (m *SessionManager) Applied() int64 { return m.applied }

// Load takes in what the Store held below Prefix at a revision. Each session that
// was not known gets its full time from now on: its owner could not show a sign of
// life to a broker that was not there. It returns the sessions whose end has
// begun, to be gone on with, and those that were here and are not there. It is not
// ok, and nothing has changed, when a newer revision has been applied: range again.
func (m *SessionManager) Load(kvs []abstract.KV, rev int64, now time.Duration) (ended []Ended, ok bool) {
	if rev < m.applied {
		return nil, false
	}
	m.applied = rev
	there := make(map[ID]struct{}, len(kvs))
	for i := range kvs {
		if id, ok := parseKey(kvs[i].Key); ok {
			there[id] = struct{}{}
			ended = m.put(ended, id, &kvs[i], now)
		}
	}
	var missing []ID
	for id, e := range m.sessions {
		if _, ok := there[id]; !ok && e.revision != 0 {
			missing = append(missing, id)
		}
	}
	slices.SortFunc(missing, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range missing {
		ended = m.drop(ended, id)
	}
	return ended, true
}

// put takes a stored session in.
func (m *SessionManager) put(ended []Ended, id ID, kv *abstract.KV, now time.Duration) []Ended {
	r := parseRecord(kv.Value, &m.cfg)
	e := m.sessions[id]
	if e == nil {
		e = &entry{id: id, secret: r.hash, interval: r.interval, misses: int32(r.misses)}
		m.add(e, now)
	}
	e.revision, e.planned = kv.ModRevision, false
	if !r.ending {
		return ended
	}
	e.marked = true
	if e.ending {
		return ended // as we told it
	}
	return append(ended, m.end(e))
}

// drop takes out a session that the Store has forgotten.
func (m *SessionManager) drop(ended []Ended, id ID) []Ended {
	e := m.sessions[id]
	switch {
	case e == nil:
	case e.ending:
		delete(m.sessions, id)
	default: // somebody deleted it, and may have left its nodes
		e.revision, e.planned = 0, true
		ended = append(ended, m.end(e))
	}
	return ended
}
