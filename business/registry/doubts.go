package registry

import (
	"slices"
	"strings"

	"trefoil/abstract"
)

// A write whose fate is unknown may take effect at any later time. What it is guarded by
// stops it when the key has been written since; what nothing stops is a first
// registration, as long as the key is not there. So the registrations that were written
// so are remembered for as long as their connection lives, with what the connection
// wants of each, and what takes effect against that is undone.

// wanted is what a connection wants of a registration in doubt.
type wanted struct {
	value []byte // what it says of itself, as in the Store; nil: it is not to be there
	why   Reason // then
}

// met says whether the index has what is wanted; p is nil when it has nothing.
func (w wanted) met(p *provider) bool {
	if p == nil || w.value == nil {
		return p == nil && w.value == nil
	}
	return p.same(parseValue(w.value))
}

// Doubt notes that a planned transaction of conn has failed and may take effect later,
// or is to, as a removal is. What registers is taken back: it was not answered, and
// what the connection had before stands again. What unregisters is gone on with.
func (m *PDManager) Doubt(conn ConnID, txn abstract.Txn) {
	for _, op := range txn.Then {
		e, ok := m.own(conn, op.Key)
		_, known := m.doubts[conn][e]
		switch p := m.find(e); {
		case !ok:
		case op.Delete:
			m.doubt(conn, e, wanted{why: reasonOf(p)})
		case known:
		case p != nil:
			value, _ := e.value(p.hello, p.shown()) // as it was encoded before
			m.doubt(conn, e, wanted{value: value})
		default:
			m.doubt(conn, e, wanted{why: Unregistered})
		}
	}
}

func reasonOf(p *provider) Reason {
	if p == nil {
		return Unregistered
	}
	return p.reason
}

func (m *PDManager) doubt(conn ConnID, e entry, w wanted) {
	if m.doubts[conn] == nil {
		m.doubts[conn] = make(map[entry]wanted)
	}
	m.doubts[conn][e.clone()] = w
}

// own returns what a key names, if it is a registration of conn's.
func (m *PDManager) own(conn ConnID, key string) (entry, bool) {
	e, ok := parseKey(key)
	return e, ok && e.owner == owner{m.cfg.Broker, conn}
}

// Settle notes that a planned transaction of conn has succeeded.
func (m *PDManager) Settle(conn ConnID, txn abstract.Txn) {
	if m.doubts[conn] == nil {
		return
	}
	for _, op := range txn.Then {
		e, ok := m.own(conn, op.Key)
		if _, known := m.doubts[conn][e]; !ok || !known {
			continue
		}
		w := wanted{value: op.Value}
		if op.Delete {
			w = wanted{why: Unregistered}
		}
		m.doubts[conn][e] = w
	}
}

// Contradicted returns the connections of which a change has made something that they do
// not want. It is to be called when the index has the change.
func (m *PDManager) Contradicted(change abstract.Change) (conns []ConnID) {
	if len(m.doubts) == 0 {
		return nil
	}
	for i := range change.Events {
		e, ok := parseKey(change.Events[i].KV.Key)
		if !ok || e.owner.broker != m.cfg.Broker || slices.Contains(conns, e.owner.conn) {
			continue
		}
		if w, known := m.doubts[e.owner.conn][e]; known && !w.met(m.find(e)) {
			conns = append(conns, e.owner.conn)
		}
	}
	return conns
}

// PlanMend returns a transaction that makes registrations in doubt what their connection
// wants; one without operations when all of them are that. Call it until then.
func (m *PDManager) PlanMend(conn ConnID) (txn abstract.Txn) {
	var all []entry
	for e, w := range m.doubts[conn] {
		if !w.met(m.find(e)) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.key(), b.key()) })
	for _, e := range all[:min(len(all), MaxOps)] {
		w := m.doubts[conn][e]
		p := m.find(e)
		if w.value == nil {
			p.reason = w.why
			guarded(&txn, p, abstract.Op{Key: e.key(), Delete: true})
			continue
		}
		guarded(&txn, p, abstract.Op{Key: e.key(), Value: w.value})
	}
	return txn
}

// guarded adds an operation that is done only if nobody has written the key since the
// index has heard of it: one that takes effect late must not undo what came after it.
func guarded(txn *abstract.Txn, p *provider, op abstract.Op) {
	var rev int64
	if p != nil {
		rev = p.rev
	}
	txn.If = append(txn.If, abstract.Compare{Key: op.Key, Target: abstract.CompareMod, Rev: rev})
	txn.Then = append(txn.Then, op)
}

// inDoubt says whether a write of unknown fate may still change a registration.
func (m *PDManager) inDoubt(conn ConnID, e entry) bool {
	_, known := m.doubts[conn][e]
	return known
}
