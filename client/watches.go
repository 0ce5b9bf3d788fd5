package client

import (
	"context"
	"iter"
	"sync"

	"trefoil/abstract"
	"trefoil/business/dispatch"
	"trefoil/concrete/message"
)

// NodeScope is how much of the tree a watch is about.
type NodeScope = abstract.NodeScope

// The scopes of a watch.
const (
	ScopeNode     = abstract.ScopeNode     // the node itself
	ScopeChildren = abstract.ScopeChildren // its direct children
	ScopeSubtree  = abstract.ScopeSubtree  // the node and everything below it
)

// NodeEvent is what one revision changed in the watched part of the tree, all of
// it: a Multi is seen whole.
type NodeEvent struct {
	Revision int64
	Changes  []NodeChange
	// Resync says that events up to Revision may be missing: the broker has no
	// record of them any more, or this client was too slow to take them. Read
	// again what you need to know; later events follow.
	Resync bool
}

// NodeChange is one changed node.
type NodeChange struct {
	Path    string
	Deleted bool
	Node    Node // as it is now; without Data when Truncated
	// Truncated says that the node's data was left out, because all that the
	// revision changed would not have fitted a frame: read the node.
	Truncated bool
}

// Watch is one look-out for changes of a part of the tree. It survives reconnects
// without missing an event: what happened meanwhile follows, or else one event with
// Resync. Safe for concurrent use. Close it when it is no longer needed.
type Watch struct {
	watches *watches
	part    part

	mu      sync.Mutex
	last    int64 // revision of the last event that was queued, or where the watch began
	begun   bool  // the broker has told where
	waiting []NodeEvent
	bytes   int
	ready   chan struct{} // holds an element while there is something to take, or the end
	err     error         // why it ended
}

// part is a watched part of the tree.
type part struct {
	path  string
	scope NodeScope
}

// watches are those of a Conn. The broker sees one for each part of the tree,
// however many there are here.
type watches struct {
	conn *Conn

	mu    sync.Mutex
	parts map[part]map[*Watch]struct{}
	gates map[part]*gate
	epoch string // in which revisions count
}

func (w *watches) init(c *Conn) {
	w.conn = c
	w.parts, w.gates = make(map[part]map[*Watch]struct{}), make(map[part]*gate)
	dispatch.On(c.wire.dispatch, abstract.NodeEvent, w.onEvent)
}

// Watch begins to watch a part of the tree: path itself, which need not exist, its
// children, or everything from it down. It returns when the broker has taken it:
// every change with a higher revision than Revision's will be seen.
func (n *NodeClient) Watch(ctx context.Context, path string, scope NodeScope) (*Watch, error) {
	return n.conn.watches.add(ctx, part{path, scope}, 0, "")
}

// WatchFrom is Watch for who has seen the tree before: it begins with what came
// after a revision, of the epoch that Epoch returned then. When the broker has no
// record of that any more, the first event has Resync.
func (n *NodeClient) WatchFrom(ctx context.Context, path string, scope NodeScope, revision int64, epoch string) (*Watch, error) {
	return n.conn.watches.add(ctx, part{path, scope}, revision, epoch)
}

// Epoch names the history in which revisions count. It is another one when the
// broker has lost the tree: revisions of before then mean nothing. It is empty
// before the first answer.
func (n *NodeClient) Epoch() string {
	n.conn.watches.mu.Lock()
	defer n.conn.watches.mu.Unlock()
	return n.conn.watches.epoch
}

// add begins a watch.
func (w *watches) add(ctx context.Context, p part, revision int64, epoch string) (*Watch, error) {
	watch := &Watch{watches: w, part: p, last: revision, ready: make(chan struct{}, 1)}
	leave, err := w.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	defer leave()
	w.mu.Lock()
	if w.parts == nil {
		w.mu.Unlock()
		return nil, w.conn.closedError()
	}
	if w.parts[p] == nil {
		w.parts[p] = make(map[*Watch]struct{})
	}
	w.parts[p][watch] = struct{}{} // before the broker knows, so that the first event finds it
	w.mu.Unlock()
	a := message.NodeAction{Op: abstract.NodeWatch, Path: p.path, Scope: p.scope, Revision: revision, Epoch: epoch}
	if _, err = w.conn.nodeRequest(ctx, a, nil, func(rsp *message.NodeResponse) { w.begin(watch, rsp) }); err != nil {
		w.drop(watch)
		return nil, err
	}
	return watch, nil
}

// begin takes the broker's answer to a new watch, in order with the events.
func (w *watches) begin(watch *Watch, rsp *message.NodeResponse) {
	w.mu.Lock()
	w.epoch = rsp.Epoch
	w.mu.Unlock()
	watch.mu.Lock()
	defer watch.mu.Unlock()
	watch.begun = true
	switch {
	case rsp.Resync:
		watch.resync(rsp.Revision)
	case watch.last == 0:
		watch.last = rsp.Revision
	}
}

// enter waits for a part's gate: one request about it is on its way at a time.
func (w *watches) enter(ctx context.Context, p part) (leave func(), err error) {
	w.mu.Lock()
	g := w.gates[p]
	if g == nil {
		g = newGate()
		w.gates[p] = g
	}
	g.users++
	w.mu.Unlock()
	done := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if g.users--; g.users == 0 {
			delete(w.gates, p)
		}
	}
	if err := g.enter(ctx); err != nil {
		done()
		return nil, &abstract.Error{Code: abstract.CodeOf(err), Op: "watch " + p.path, Message: "another change of this watch is still on its way", Sent: abstract.SentNo, Err: err}
	}
	return func() { g.leave(); done() }, nil
}

// drop takes a watch away and returns whether it was its part's last.
func (w *watches) drop(watch *Watch) (last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.parts[watch.part]
	if _, there := all[watch]; !there {
		return false
	}
	delete(all, watch)
	if len(all) > 0 {
		return false
	}
	delete(w.parts, watch.part)
	return true
}

// onEvent gives an event to the watches of its part.
func (w *watches) onEvent(_ *session, m *message.NodeEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.parts[part{m.Path, m.Scope}]
	if len(all) == 0 {
		return // closed meanwhile
	}
	event := NodeEvent{Revision: m.Revision, Resync: m.Resync}
	size := 64
	for i := range m.Events {
		c := &m.Events[i]
		change := NodeChange{Path: c.Path, Deleted: c.Deleted, Truncated: m.Truncated && !c.Deleted}
		if c.Node != nil {
			change.Node = wholeNode(c.Node, m.Revision)
			change.Node.Path = c.Path
		}
		size += 256 + len(c.Path) + len(change.Node.Data)
		event.Changes = append(event.Changes, change)
	}
	for watch := range all {
		watch.put(event, size)
	}
}

// restore asks for everything again, from where each watch stands.
func (w *watches) restore(ctx context.Context, s *session) error {
	w.mu.Lock()
	var requests []request
	for p, all := range w.parts {
		from := int64(0)
		for watch := range all {
			if last, begun := watch.position(); begun && (from == 0 || last < from) {
				from = last
			}
		}
		a := message.NodeAction{Op: abstract.NodeWatch, Path: p.path, Scope: p.scope, Revision: from, Epoch: w.epoch}
		requests = append(requests, request{
			want: abstract.RspNode,
			build: func(id string) abstract.BaseMessage {
				return &message.NodeRequest{Header: message.ID(id), NodeAction: a}
			},
			see: func(m abstract.BaseMessage) { w.restored(p, m.(*message.NodeResponse)) },
		})
	}
	w.mu.Unlock()
	return s.askAll(ctx, requests)
}

// restored looks at the answer to a watch that was restored. The broker refuses one
// only at a limit, or when it is not allowed any more: then the watch ends.
func (w *watches) restored(p part, rsp *message.NodeResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if rsp.Code == abstract.OK {
		w.epoch = rsp.Epoch
	}
	for watch := range w.parts[p] {
		switch {
		case rsp.Code != abstract.OK:
			watch.end(refused("watch "+p.path, rsp.Code, rsp.Message, w.conn.addr))
		case rsp.Resync:
			watch.mu.Lock()
			watch.resync(rsp.Revision)
			watch.mu.Unlock()
		}
	}
}

// close ends all watches.
func (w *watches) close() {
	w.mu.Lock()
	parts := w.parts
	w.parts = nil
	w.mu.Unlock()
	for _, all := range parts {
		for watch := range all {
			watch.end(w.conn.closedError())
		}
	}
}

// Close ends the watch. When it was this Conn's last one of its part of the tree,
// the broker is told.
func (w *Watch) Close(ctx context.Context) error {
	w.end(&abstract.Error{Code: abstract.Cancelled, Op: "read a watch", Message: "the watch was closed"})
	if !w.watches.drop(w) {
		return nil
	}
	leave, err := w.watches.enter(ctx, w.part)
	if err != nil {
		return err
	}
	defer leave()
	w.watches.mu.Lock()
	again := len(w.watches.parts[w.part]) > 0
	w.watches.mu.Unlock()
	if again {
		return nil
	}
	_, err = w.watches.conn.nodeRequest(ctx, message.NodeAction{Op: abstract.NodeUnwatch, Path: w.part.path, Scope: w.part.scope}, nil, nil)
	return err
}

// Revision is where the watch stands: all changes up to it have been returned, or
// were there when it began.
func (w *Watch) Revision() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) > 0 {
		return w.waiting[0].Revision - 1
	}
	return w.last
}

// position is the revision of the last event that has come; begun is false before
// the broker has told where the watch begins.
func (w *Watch) position() (last int64, begun bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.begun
}

// put queues an event. What was seen already comes again when another watch of the
// same part begins earlier.
func (w *Watch) put(e NodeEvent, size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil || !w.begun:
		return // it has ended, or the broker has not said yet where it begins
	case e.Resync:
		w.resync(e.Revision)
	case e.Revision <= w.last:
	case w.bytes+size > w.watches.conn.cfg.subscribing && len(w.waiting) > 0:
		w.resync(e.Revision)
	default:
		w.last = e.Revision
		w.waiting = append(w.waiting, e)
		w.bytes += size
		w.wake()
	}
}

// resync drops what waits and says so, with the lock held.
func (w *Watch) resync(revision int64) {
	w.last = revision
	w.waiting = append(w.waiting[:0], NodeEvent{Revision: revision, Resync: true})
	w.bytes = 0
	w.wake()
}

func (w *Watch) wake() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// end ends the watch; only the first reason counts.
func (w *Watch) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		w.waiting = nil
		w.wake()
	}
}

// Next waits for the next event. The error is ctx's, or says why the watch ended.
func (w *Watch) Next(ctx context.Context) (NodeEvent, error) {
	for {
		if e, ok, err := w.take(); ok || err != nil {
			return e, err
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return NodeEvent{}, &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "read a watch", Message: "the context is over", Err: ctx.Err()}
		}
	}
}

func (w *Watch) take() (e NodeEvent, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		w.wake() // for whoever asks again
		return e, false, w.err
	}
	if len(w.waiting) == 0 {
		return e, false, nil
	}
	e = w.waiting[0]
	w.waiting[0] = NodeEvent{}
	if w.waiting = w.waiting[1:]; len(w.waiting) == 0 {
		w.bytes = 0
	} else {
		w.wake() // for another one who waits
	}
	return e, true, nil
}

// Events returns the events as they come, until ctx ends or the loop is left, which
// does not close the watch. The last pair carries the error, if there is one.
func (w *Watch) Events(ctx context.Context) iter.Seq2[NodeEvent, error] {
	return func(yield func(NodeEvent, error) bool) {
		for {
			e, err := w.Next(ctx)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}
