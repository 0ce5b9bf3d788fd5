package node

import (
	"cmp"
	"slices"
	"strings"

	"trefoil/abstract"
)

// session is what the tree holds of one: nodes, in the order in which they were
// made, and idempotency keys.
type session struct {
	id    string
	first *node
	last  *node
	nodes int
	once  map[string]*once
	order []*once // the oldest first
}

// once is an idempotency key and the path that its creation has made.
type once struct {
	key     string
	path    string
	created int64
}

func (s *session) add(n *node) {
	n.owner, n.prev, n.next = s, s.last, nil
	if s.last != nil {
		s.last.next = n
	} else {
		s.first = n
	}
	s.last = n
	s.nodes++
}

func (s *session) remove(n *node) {
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		s.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		s.last = n.prev
	}
	n.owner, n.prev, n.next = nil, nil, nil
	s.nodes--
}

// session returns what is held of a session, made when it is new. The id is copied.
func (m *NodeManager) session(id string) *session {
	s := m.sessions[id]
	if s == nil {
		s = &session{id: strings.Clone(id)}
		m.sessions[s.id] = s
	}
	return s
}

func (m *NodeManager) dropIfUnused(s *session) {
	if s.nodes == 0 && len(s.once) == 0 {
		delete(m.sessions, s.id)
	}
}

// own makes a node belong to a session, or to none.
func (m *NodeManager) own(n *node, id string) {
	if n.session() == id {
		return
	}
	if old := n.owner; old != nil {
		old.remove(n)
		m.dropIfUnused(old)
	}
	if id != "" {
		m.session(id).add(n)
	}
}

func (m *NodeManager) putOnce(rest string, kv *abstract.KV) {
	id, key, _ := strings.Cut(rest, "/")
	s := m.session(id)
	if s.once == nil {
		s.once = make(map[string]*once)
	}
	m.dropOnceOf(s, key)
	o := &once{key: key, path: string(kv.Value), created: kv.CreateRevision}
	s.once[key] = o
	at, _ := slices.BinarySearchFunc(s.order, o, func(a, b *once) int {
		return cmp.Or(cmp.Compare(a.created, b.created), -1) // behind those of the same revision
	})
	s.order = slices.Insert(s.order, at, o)
}

func (m *NodeManager) dropOnce(rest string) {
	id, key, _ := strings.Cut(rest, "/")
	if s := m.sessions[id]; s != nil {
		m.dropOnceOf(s, key)
		m.dropIfUnused(s)
	}
}

func (m *NodeManager) dropOnceOf(s *session, key string) {
	if o := s.once[key]; o != nil {
		delete(s.once, key)
		i := slices.Index(s.order, o)
		s.order = slices.Delete(s.order, i, i+1)
	}
}

// SessionNodes returns the paths of a session's nodes, in the order in which they
// were made; after a Load, those that it brought are in the order of their keys.
func (m *NodeManager) SessionNodes(id string) []string {
	s := m.sessions[id]
	if s == nil {
		return nil
	}
	paths := make([]string, 0, s.nodes)
	for n := s.first; n != nil; n = n.next {
		paths = append(paths, n.path)
	}
	return paths
}

// Orphans returns the sessions that own something in the tree and are not alive, in
// order. After a start, when sessions and tree are loaded, they are those whose end
// nobody has finished: PlanExpire does.
func (m *NodeManager) Orphans(alive func(id string) bool) []string {
	var list []string
	for id := range m.sessions {
		if !alive(id) {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

// PlanExpire returns a transaction that deletes what belongs to sessions that have
// ended: all of it, or as much as one transaction takes. Run it, wait until its
// revision, or that at which it did not succeed, has been applied, and call again:
// it is not ok when nothing is left. First tell the Store that the sessions have
// ended, or they may get new nodes.
//
// It compares that each node is still the session's: one of the same path that
// somebody else has made in the meantime stays.
func (m *NodeManager) PlanExpire(ids ...string) (t abstract.Txn, ok bool) {
	for _, id := range ids {
		s := m.sessions[id]
		if s == nil {
			continue
		}
		for n := s.first; n != nil && roomFor(&t, 1, 1); n = n.next {
			key := n.key()
			t.If = append(t.If, abstract.Compare{Key: key, Target: abstract.CompareCreate, Rev: n.created})
			t.Then = append(t.Then, abstract.Op{Key: key, Delete: true})
		}
		for _, o := range s.order {
			if !roomFor(&t, 0, 1) {
				break
			}
			t.Then = append(t.Then, abstract.Op{Key: onceKey(id, o.key), Delete: true}) // of nobody else ever
		}
	}
	return t, len(t.Then) > 0
}

// roomFor says whether a transaction takes so many comparisons and operations more.
func roomFor(t *abstract.Txn, compares, ops int) bool {
	return len(t.If)+compares <= abstract.StoreMaxCompares && len(t.Then)+ops <= abstract.StoreMaxOps
}
