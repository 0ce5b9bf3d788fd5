package node

import (
	"slices"
	"strconv"
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Apply takes a change of the Store into the index and returns what it says to
// which watchers, in the order in which it is to be sent. Changes must come in
// order; one that was applied already is ignored, and so are keys that are not ours.
func (m *NodeManager) Apply(change abstract.Change) []Notice {
	if change.Revision <= m.applied {
		return nil
	}
	m.applied = change.Revision
	joined := false
	for i := range change.Events { // first, so that no implied node goes and comes in between
		if ev := &change.Events[i]; !ev.Deleted {
			joined = joined || ev.KV.ModRevision != change.Revision
			m.put(&ev.KV)
		}
	}
	for i := range change.Events {
		if ev := &change.Events[i]; ev.Deleted {
			m.drop(ev.KV.Key)
		}
	}
	changes := m.changes()
	m.history.add(change.Revision, changes)
	if joined { // several revisions in one: nobody who has seen some of them can go on from there
		m.history.begin(change.Revision)
	}
	return m.watches.notices(change.Revision, changes)
}

// Load makes the index what the Store held below Prefix at a revision, and
// returns the notices of the difference. Watches stay; none can be resumed from
// before. It is for a Store that was not empty when following began, or one that
// was out of reach: follow first, then Range, then Load. It is not ok, and nothing
// has changed, when the index has meanwhile seen a newer revision: Range again.
func (m *NodeManager) Load(kvs []abstract.KV, rev int64) (notices []Notice, ok bool) {
	if rev < m.applied {
		return nil, false
	}
	m.applied = rev
	m.round++
	m.root.round = m.round
	m.forgetKeys()
	for i := range kvs {
		m.put(&kvs[i])
	}
	for _, n := range m.missing() {
		m.leave(n)
	}
	for _, s := range m.sessions {
		m.dropIfUnused(s)
	}
	m.history.begin(rev)
	m.watched = m.watched || len(kvs) > 0 // who watched it before will come back
	return m.watches.notices(rev, m.changes()), true
}

// forgetKeys drops what Load brings again, of what no watcher sees.
func (m *NodeManager) forgetKeys() {
	clear(m.counters)
	for _, s := range m.sessions {
		s.once, s.order = nil, nil
	}
}

// missing returns the nodes with a key that the last Load has not seen, children
// before their parents.
func (m *NodeManager) missing() []*node {
	var list []*node
	for _, n := range m.nodes {
		if n.round != m.round && n.kind != implied {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b *node) int { return strings.Compare(b.path, a.path) })
	return list
}

// put takes a key's value in.
func (m *NodeManager) put(kv *abstract.KV) {
	switch kind, rest := parseKey(kv.Key); kind {
	case treeKey:
		r, head := parseRecord(kv.Value)
		if r.session != "" {
			r.session = m.session(r.session).id
		}
		m.putNode(rest, stored, kv, r, head)
	case providerKey:
		m.putNode(rest, provided, kv, record{version: 1}, 0)
	case sequenceKind:
		if next, err := strconv.ParseInt(string(kv.Value), 10, 64); err == nil && next >= 0 {
			m.counters[rest] = counter{next, kv.ModRevision}
		}
	case onceKind:
		m.putOnce(rest, kv)
	}
}

// putNode adds a node or changes it.
func (m *NodeManager) putNode(path string, as kind, kv *abstract.KV, r record, head int) {
	n := m.node(path, kv.CreateRevision)
	n.round = m.round
	if n.kind == as && n.modified == kv.ModRevision && n.created == kv.CreateRevision {
		return // Load has found it as it was
	}
	m.size += int64(len(kv.Value)) - int64(len(n.value))
	n.kind, n.value, n.head = as, kv.Value, uint16(head)
	n.version, n.created, n.modified = r.version, kv.CreateRevision, kv.ModRevision
	n.ctime, n.mtime = r.ctime, r.mtime
	m.own(n, r.session)
	m.credit(n, r.maker)
	m.touch(n)
	for p := n.parent; p.kind == implied && p.created > n.created; p = p.parent {
		p.created, p.modified = n.created, n.created // a Load brings children in the order of their keys
	}
}

// node returns the node at a path, made, with its parents, as an implied one when
// it is not there.
func (m *NodeManager) node(path string, created int64) *node {
	n := m.nodes[path]
	if n != nil {
		return n
	}
	n = &node{path: path, parent: m.node(parentOf(path), created), version: 1, created: created, modified: created}
	m.nodes[path] = n
	m.size += nodeCost
	if n.parent.children == nil {
		n.parent.children = &children{}
	}
	n.parent.children.add(n)
	n.parent.childrenModified = max(n.parent.childrenModified, created)
	m.touch(n)
	return n
}

// nodeCost is what a node counts besides its value.
const nodeCost = 256

// touch notes that a node has changed.
func (m *NodeManager) touch(n *node) {
	if !n.dirty {
		n.dirty = true
		m.dirty = append(m.dirty, n)
	}
}

// drop takes a deleted key out.
func (m *NodeManager) drop(key string) {
	switch kind, rest := parseKey(key); kind {
	case treeKey, providerKey:
		if n := m.nodes[rest]; n != nil && n.kind != implied {
			m.leave(n)
		}
	case sequenceKind:
		delete(m.counters, rest)
	case onceKind:
		m.dropOnce(rest)
	}
}

// leave takes a node's key from it. What has no key and no children goes.
func (m *NodeManager) leave(n *node) {
	m.own(n, "")
	m.credit(n, "")
	m.size -= int64(len(n.value))
	n.kind, n.value, n.head, n.version, n.ctime, n.mtime = implied, nil, 0, 1, 0, 0
	if n.children != nil {
		m.touch(n) // somebody's mistake, as we delete none with children
	}
	for n.kind == implied && n.children == nil {
		parent := n.parent
		parent.children.remove(n)
		if parent.children.n == 0 {
			parent.children = nil
		}
		parent.childrenModified = m.applied
		delete(m.nodes, n.path)
		m.size -= nodeCost
		m.gone = append(m.gone, n.path)
		n.parent = nil
		n = parent
	}
}

// changes returns what has changed since it was called last, if there is somebody to
// be told.
func (m *NodeManager) changes() []message.NodeChange {
	if !m.watched {
		for _, n := range m.dirty {
			n.dirty = false
		}
		clear(m.dirty)
		clear(m.gone)
		m.dirty, m.gone = m.dirty[:0], m.gone[:0]
		return nil
	}
	dirty, gone := m.dirty, m.gone
	m.dirty, m.gone = nil, nil
	if len(dirty)+len(gone) == 0 {
		return nil
	}
	changes := make([]message.NodeChange, 0, len(dirty)+len(gone))
	for _, n := range dirty {
		n.dirty = false
		if n.parent != nil {
			changes = append(changes, message.NodeChange{Path: n.path, Node: n.told(true)})
		}
	}
	for _, path := range gone {
		changes = append(changes, message.NodeChange{Path: path, Deleted: true})
	}
	return changes
}
