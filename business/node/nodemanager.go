package node

import (
	"trefoil/abstract"
	"trefoil/concrete/message"
)

// ConnID is the number of a connection of this broker. It is never used twice.
type ConnID uint64

// Notice is what watchers of one part of the tree are to be told. The message is
// the same for all of them, and is never changed: encode it once. Conns is the
// NodeManager's own, and may be used until its next method is called.
type Notice struct {
	Conns []ConnID
	Event *message.NodeEvent
}

// Smaller returns the next smaller event that says the same: without data, and
// then as a resync. It is for one that does not fit a frame.
func Smaller(e *message.NodeEvent) *message.NodeEvent {
	if e.Truncated || e.Resync {
		return resync(e.Path, e.Scope, e.Revision)
	}
	return &message.NodeEvent{Path: e.Path, Scope: e.Scope, Revision: e.Revision, Events: e.Events, Truncated: true}
}

func resync(path string, scope abstract.NodeScope, revision int64) *message.NodeEvent {
	return &message.NodeEvent{Path: path, Scope: scope, Revision: revision, Resync: true}
}

// NodeManager knows the tree and its watchers: a request or a change goes in, what
// is to be done or sent comes out. It holds no sockets, clocks or goroutines, and
// the same events give the same result every time.
//
// NodeManager is not safe for concurrent use: the caller's lock covers a call and
// the queueing of its notices, which is what keeps them in the order of revisions.
// The Store is not called under that lock, as its followers take it.
type NodeManager struct {
	cfg      Config
	applied  int64
	round    uint32
	root     *node
	nodes    map[string]*node // by path, the root too
	size     int64            // what they cost
	sessions map[string]*session
	counters map[string]counter // by the parent's path
	makers   map[string]*maker

	dirty []*node  // made or changed by the revision that is being applied
	gone  []string // and deleted by it

	watches watches
	watched bool // somebody has ever watched, or may have: before that there is no history
	history history
	scratch []byte // to see how long a JSON text is
}

// counter is the number that the next sequential child of a node gets.
type counter struct {
	next     int64
	modified int64 // revision
}

// NewNodeManager makes a NodeManager of an empty tree.
func NewNodeManager(cfg Config) *NodeManager {
	cfg = cfg.withDefaults()
	first := &node{path: root, kind: top, version: 1}
	return &NodeManager{
		cfg:      cfg,
		root:     first,
		nodes:    map[string]*node{root: first},
		sessions: make(map[string]*session),
		counters: make(map[string]counter),
		makers:   make(map[string]*maker),
		watches:  newWatches(cfg.MaxWatchesPerConn, cfg.MaxNotice),
		history:  history{maxChanges: cfg.MaxHistory, maxBytes: cfg.MaxHistoryBytes},
	}
}

// Applied returns the revision of the last change that is in the index: reads are
// true at it. It is 0 before the first.
func (m *NodeManager) Applied() int64 { return m.applied }

// Len returns how many nodes there are, the root included.
func (m *NodeManager) Len() int { return len(m.nodes) }
