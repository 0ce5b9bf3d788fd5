package node

import (
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// watches are the watched parts of the tree. The path need not exist.
type watches struct {
	maxPerConn, maxNotice int

	node     map[string]*watch // by path, of ScopeNode
	children map[string]*watch
	subtree  map[string]*watch
	conns    map[ConnID]map[*watch]int // the place of the conn in watch.conns
	hit      []*watch                  // by the revision that is being told
}

// watch is one part of the tree, and who watches it.
type watch struct {
	path  string
	scope abstract.NodeScope
	conns []ConnID

	// What it is told of a revision, while that is put together: changes[from:to],
	// or, when those it is told of do not stand side by side, picked.
	hit      bool
	from, to int
	picked   []message.NodeChange
}

func newWatches(maxPerConn, maxNotice int) watches {
	return watches{
		maxPerConn: maxPerConn, maxNotice: maxNotice,
		node: make(map[string]*watch), children: make(map[string]*watch), subtree: make(map[string]*watch),
		conns: make(map[ConnID]map[*watch]int),
	}
}

// of returns the watches of a scope; nil for one that is not known.
func (w *watches) of(scope abstract.NodeScope) map[string]*watch {
	switch scope {
	case abstract.ScopeNode:
		return w.node
	case abstract.ScopeChildren:
		return w.children
	case abstract.ScopeSubtree:
		return w.subtree
	}
	return nil
}

// add makes a conn a watcher. One that is already stays one.
func (w *watches) add(conn ConnID, path string, scope abstract.NodeScope) error {
	all := w.of(scope)
	at := all[path]
	if at != nil {
		if _, there := w.conns[conn][at]; there {
			return nil
		}
	}
	if len(w.conns[conn]) >= w.maxPerConn {
		return abstract.Errorf(abstract.Overloaded, "a connection watches at most %d parts of the tree; watch a subtree instead, or end some", w.maxPerConn)
	}
	if at == nil {
		path = strings.Clone(path) // it may be a piece of a received frame
		at = &watch{path: path, scope: scope}
		all[path] = at
	}
	if w.conns[conn] == nil {
		w.conns[conn] = make(map[*watch]int)
	}
	w.conns[conn][at] = len(at.conns)
	at.conns = append(at.conns, conn)
	return nil
}

// remove ends one watch of a conn, if there is one.
func (w *watches) remove(conn ConnID, path string, scope abstract.NodeScope) {
	at := w.of(scope)[path]
	if at == nil {
		return
	}
	if _, there := w.conns[conn][at]; !there {
		return
	}
	w.leave(conn, at)
	if delete(w.conns[conn], at); len(w.conns[conn]) == 0 {
		delete(w.conns, conn)
	}
}

func (w *watches) forget(conn ConnID) []Watched {
	parts := make([]Watched, 0, len(w.conns[conn]))
	for at := range w.conns[conn] {
		w.leave(conn, at)
		parts = append(parts, Watched{at.path, at.scope})
	}
	delete(w.conns, conn)
	return parts
}

// leave takes a conn out of a watch. The last one takes its place.
func (w *watches) leave(conn ConnID, at *watch) {
	i, last := w.conns[conn][at], len(at.conns)-1
	moved := at.conns[last]
	at.conns[i] = moved
	w.conns[moved][at] = i
	if at.conns = at.conns[:last]; last == 0 {
		delete(w.of(at.scope), at.path)
	}
}

// notices returns what a revision's changes say to whom.
func (w *watches) notices(revision int64, changes []message.NodeChange) []Notice {
	if len(w.conns) == 0 || len(changes) == 0 {
		return nil
	}
	for i := range changes {
		path := changes[i].Path
		w.tell(w.node[path], i, changes)
		w.tell(w.children[parentOf(path)], i, changes)
		for len(w.subtree) > 0 {
			w.tell(w.subtree[path], i, changes)
			if path == root {
				break
			}
			path = parentOf(path)
		}
	}
	notices := make([]Notice, 0, len(w.hit))
	for _, at := range w.hit {
		notices = append(notices, Notice{at.conns, at.event(revision, changes, w.maxNotice)})
		at.hit, at.picked = false, nil
	}
	clear(w.hit)
	w.hit = w.hit[:0]
	return notices
}

// tell notes that a watch is told the change i. Mostly all changes of a revision
// are told, or some that stand side by side: then nothing is copied.
func (w *watches) tell(at *watch, i int, changes []message.NodeChange) {
	switch {
	case at == nil:
	case !at.hit:
		at.hit, at.from, at.to = true, i, i+1
		w.hit = append(w.hit, at)
	case at.picked == nil && at.to == i:
		at.to++
	default:
		if at.picked == nil {
			at.picked = append(at.picked, changes[at.from:at.to]...)
		}
		at.picked = append(at.picked, changes[i])
	}
}

func (at *watch) event(revision int64, changes []message.NodeChange, most int) *message.NodeEvent {
	told := at.picked
	if told == nil {
		told = changes[at.from:at.to:at.to]
	}
	if len(told) > most {
		return resync(at.path, at.scope, revision)
	}
	return &message.NodeEvent{Path: at.path, Scope: at.scope, Revision: revision, Events: told}
}

// CheckWatch says what is wrong with a part of the tree that is to be watched, or
// not any more, with code InvalidParams.
func CheckWatch(a *message.NodeAction) error {
	if !a.Scope.Valid() {
		return abstract.Errorf(abstract.InvalidParams, "the scope %.40q is not known; give node, children or subtree", a.Scope)
	}
	return CheckPath(a.Path)
}

// Watch makes conn a watcher of a.Path, which need not exist, with a.Scope; one
// that is already stays one. It returns the answer, which is to be sent before
// missed, and that before the notices of any later Apply: one step under the
// caller's lock, so that nothing comes twice or is lost in between.
//
// With a.Revision, of a.Epoch, missed is what came after it; the answer has Resync
// when that cannot be told any more. Without, the watch begins now. The error is
// InvalidParams, or Overloaded at a limit.
func (m *NodeManager) Watch(conn ConnID, a *message.NodeAction) (rsp *message.NodeResponse, missed []*message.NodeEvent, err error) {
	if err := CheckWatch(a); err != nil {
		return nil, nil, err
	}
	if err := m.watches.add(conn, a.Path, a.Scope); err != nil {
		return nil, nil, err
	}
	if !m.watched {
		m.watched = true
		m.history.begin(m.applied)
	}
	rsp = m.answer()
	if a.Revision == 0 {
		return rsp, nil, nil
	}
	past, ok := m.history.after(a.Revision)
	if !ok || a.Epoch != m.cfg.Epoch || a.Revision > m.applied { // above: the Store was put back to an older state
		rsp.Resync = true
		return rsp, nil, nil
	}
	rsp.Revision = a.Revision
	return rsp, m.missed(m.watches.of(a.Scope)[a.Path], past), nil
}

// missed returns what a watch would have been told.
func (m *NodeManager) missed(at *watch, past []revision) []*message.NodeEvent {
	var events []*message.NodeEvent
	for i := range past {
		r := &past[i]
		for j := range r.changes {
			if at.covers(r.changes[j].Path) {
				m.watches.tell(at, j, r.changes)
			}
		}
		if at.hit {
			events = append(events, at.event(r.number, r.changes, m.cfg.MaxNotice))
			at.hit, at.picked = false, nil
			m.watches.hit = m.watches.hit[:0]
		}
	}
	return events
}

func (at *watch) covers(path string) bool {
	switch at.scope {
	case abstract.ScopeNode:
		return path == at.path
	case abstract.ScopeChildren:
		return parentOf(path) == at.path && path != root
	}
	return path == at.path || below(path, at.path)
}

// Unwatch ends a watch of conn. When there is none, what was asked for is the case.
func (m *NodeManager) Unwatch(conn ConnID, path string, scope abstract.NodeScope) {
	m.watches.remove(conn, path, scope)
}

// Watched is a part of the tree that is watched.
type Watched struct {
	Path  string
	Scope abstract.NodeScope
}

// Forget ends all watches of a connection that is gone, and returns which they were.
func (m *NodeManager) Forget(conn ConnID) []Watched { return m.watches.forget(conn) }

// answer is an answer without anything but where it is true.
func (m *NodeManager) answer() *message.NodeResponse {
	return &message.NodeResponse{Revision: m.applied, Epoch: m.cfg.Epoch}
}
