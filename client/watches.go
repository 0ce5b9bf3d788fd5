package client

import (
	"context"
	"fmt"
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
	Node    Node // as it is now; without Data when Truncated. All who watch share its Data: do not change it
	// Truncated says that the node's data was left out, because all that the
	// revision changed would not have fitted a frame: read the node.
	Truncated bool
}

// Watch is one look-out for changes of a part of the tree. It survives reconnects
// and restarts of the broker without missing an event: what happened meanwhile
// follows, or else one event with Resync. It does not depend on the Conn's session.
// Safe for concurrent use: each event is returned once, to one of the callers of
// Next. Close it when it is no longer needed; the Conn's Close ends it.
type Watch struct {
	watches *watches
	part    part

	mu      sync.Mutex
	epoch   string // in which revisions count
	last    int64  // revision of the last event that was queued, or where the watch began
	begun   bool   // the broker has told where
	seen    int64  // revision of the last event that was taken, or where the watch began
	seenIn  string // the epoch of seen
	waiting []waitingEvent
	bytes   int
	ready   chan struct{} // holds an element while there is something to take, or the end
	err     error         // why it ended
}

type waitingEvent struct {
	NodeEvent
	size int
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
	epoch string // of the last answer
}

func (w *watches) init(c *Conn) {
	w.conn = c
	w.parts, w.gates = make(map[part]map[*Watch]struct{}), make(map[part]*gate)
	dispatch.On(c.wire.dispatch, abstract.NodeEvent, w.onEvent)
}

// Watch begins to watch a part of the tree: path itself, which need not exist, its
// children, or everything from it down. It returns when the broker has taken it:
// every change after Revision will be seen. Read after it, not before.
func (n *NodeClient) Watch(ctx context.Context, path string, scope NodeScope) (*Watch, error) {
	return n.conn.watches.add(ctx, part{path, scope}, 0, "")
}

// WatchFrom is Watch for who has seen the tree before: it begins with what came
// after a revision, above 0, of the epoch that Epoch returned then. When the broker
// has no record of that any more, the first event has Resync; other watches of the
// same part on this Conn may then get one too.
func (n *NodeClient) WatchFrom(ctx context.Context, path string, scope NodeScope, revision int64, epoch string) (*Watch, error) {
	if revision <= 0 {
		return nil, &abstract.Error{Code: abstract.InvalidParams, Op: "watch " + path, Message: fmt.Sprintf("there is no revision %d; give one that was seen, or use Watch", revision), Sent: abstract.SentNo}
	}
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
	watch := &Watch{watches: w, part: p, last: revision, epoch: epoch, seen: revision, seenIn: epoch, ready: make(chan struct{}, 1)}
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
	if err = w.start(ctx, watch); err != nil {
		if e := asError(err); w.drop(watch) && !e.FromPeer && e.Sent != abstract.SentNo {
			w.forgetSoon(p) // the broker may have taken it
		}
		return nil, err
	}
	return watch, nil
}

// start asks the broker for a new watch.
func (w *watches) start(ctx context.Context, watch *Watch) error {
	a := watch.action(abstract.NodeWatch)
	what := describe(&a)
	if err := ctx.Err(); err != nil {
		return &abstract.Error{Code: abstract.CodeOf(err), Op: what, Message: "the context was over before the request was sent", Sent: abstract.SentNo, Err: err}
	}
	deadline := w.conn.deadline(ctx)
	m, err := w.conn.attempt(ctx, what, deadline, true, func(s *session) (abstract.BaseMessage, error) {
		if watch.last == 0 {
			return s.askNode(ctx, deadline, a, nil, func(rsp *message.NodeResponse) { w.begin(watch, rsp) })
		}
		return w.startEarlier(ctx, s, watch)
	})
	if err != nil {
		return err
	}
	_, err = accepted(what, m, w.conn.addr)
	return err
}

// startEarlier asks for a watch that begins in the past. Where the part is watched
// already, its events may be on their way and would come before the earlier ones: so
// the broker ends that watch first, and then all begin where the earliest stands.
func (w *watches) startEarlier(ctx context.Context, s *session, watch *Watch) (abstract.BaseMessage, error) {
	m, err := s.askNode(ctx, w.conn.deadline(ctx), watch.action(abstract.NodeUnwatch), nil, nil)
	if err != nil || m.(*message.NodeResponse).Code != abstract.OK {
		return m, err
	}
	a := watch.action(abstract.NodeWatch)
	a.Revision, a.Epoch = w.earliest(watch)
	ctx = context.WithoutCancel(ctx) // others need it too
	m, err = s.askNode(ctx, w.conn.deadline(ctx), a, nil, func(rsp *message.NodeResponse) { w.begin(watch, rsp) })
	if err == nil && m.(*message.NodeResponse).Code != abstract.OK {
		err = refused(describe(&a), m.(*message.NodeResponse).Code, m.(*message.NodeResponse).Message, w.conn.addr)
	}
	if err != nil && w.shared(watch) {
		s.Close(err) // the others' watch is restored on the next connection
	}
	return m, err
}

// earliest is from where a new watch and those of the same part that there are
// already see everything.
func (w *watches) earliest(watch *Watch) (revision int64, epoch string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	revision, epoch = watch.last, watch.epoch
	for other := range w.parts[watch.part] {
		last, in, begun := other.position()
		switch {
		case !begun:
		case in != epoch: // what the new one has seen is of another history: it is told to read anyway
			revision, epoch = last, in
		default:
			revision = min(revision, last)
		}
	}
	return revision, epoch
}

// shared says whether there are other watches of the same part.
func (w *watches) shared(watch *Watch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.parts[watch.part]) > 1
}

// action is an operation on what is watched.
func (w *Watch) action(op abstract.NodeOp) message.NodeAction {
	return message.NodeAction{Op: op, Path: w.part.path, Scope: w.part.scope}
}

// begin takes the broker's answer to a new watch, in order with the events.
func (w *watches) begin(watch *Watch, rsp *message.NodeResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.epoch = rsp.Epoch
	watch.mu.Lock()
	if watch.begun = true; watch.last == 0 {
		watch.last, watch.epoch = rsp.Revision, rsp.Epoch
		watch.seen, watch.seenIn = rsp.Revision, rsp.Epoch
		watch.mu.Unlock()
		return
	}
	watch.mu.Unlock()
	for each := range w.parts[watch.part] {
		each.goOn(rsp)
	}
}

// goOn takes the broker's answer to a watch that goes on where it stands, if that is
// still possible.
func (w *Watch) goOn(rsp *message.NodeResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun && (rsp.Resync || w.epoch != rsp.Epoch) {
		w.epoch = rsp.Epoch
		w.resync(rsp.Revision)
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

// restore asks for everything again, from where each watch stands. What has not
// begun yet is asked for by who waits for it.
func (w *watches) restore(ctx context.Context, s *session) error {
	if !s.modern() {
		return nil
	}
	w.mu.Lock()
	var requests []request
	for p, all := range w.parts {
		a := message.NodeAction{Op: abstract.NodeWatch, Path: p.path, Scope: p.scope, Epoch: w.epoch}
		some := false
		for watch := range all {
			last, epoch, begun := watch.position()
			if some = some || begun; begun && epoch == w.epoch && (a.Revision == 0 || last < a.Revision) {
				a.Revision = last // those of another epoch are told to read again
			}
		}
		if !some {
			continue
		}
		requests = append(requests, request{
			want: abstract.RspNode,
			build: func(id string) abstract.BaseMessage {
				return &message.NodeRequest{Header: message.ID(id), NodeAction: a}
			},
			see: func(m abstract.BaseMessage) { w.restored(p, m.(*message.NodeResponse)) },
		})
	}
	w.mu.Unlock()
	err := s.askAll(ctx, requests)
	if err != nil && abstract.CodeOf(err) == abstract.Unsupported { // it has no nodes any more
		w.endAll(asError(err))
		return nil
	}
	return err
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
		if rsp.Code != abstract.OK {
			watch.end(refused("watch "+p.path, rsp.Code, rsp.Message, w.conn.addr))
			continue
		}
		watch.goOn(rsp)
	}
}

// endAll ends all watches there are.
func (w *watches) endAll(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range w.parts {
		for watch := range all {
			watch.end(why)
		}
	}
}

// close ends all watches.
func (w *watches) close() {
	w.endAll(w.conn.closedError())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parts = nil
}

// Close ends the watch: Next returns an error from then on. When it was this Conn's
// last one of its part of the tree, the broker is told; an error is about that only,
// and it will be told all the same.
func (w *Watch) Close(ctx context.Context) error {
	w.end(&abstract.Error{Code: abstract.Cancelled, Op: "read a watch", Message: "the watch was closed"})
	if !w.watches.drop(w) {
		return nil
	}
	if w.watches.conn.down() { // the next connection has none of it, or hears of it soon
		w.watches.forgetSoon(w.part)
		return nil
	}
	err := w.watches.forget(ctx, w.part)
	if err != nil && w.watches.conn.ctx.Err() == nil {
		w.watches.forgetSoon(w.part)
	}
	return err
}

// forget tells the broker that a part is not watched any more, unless it is.
func (w *watches) forget(ctx context.Context, p part) error {
	leave, err := w.enter(ctx, p)
	if err != nil {
		return err
	}
	defer leave()
	w.mu.Lock()
	again := len(w.parts[p]) > 0
	w.mu.Unlock()
	if again {
		return nil
	}
	_, err = w.conn.nodeRequest(ctx, message.NodeAction{Op: abstract.NodeUnwatch, Path: p.path, Scope: p.scope}, nil, nil)
	return err
}

// forgetSoon is forget without anybody waiting for it.
func (w *watches) forgetSoon(p part) {
	w.conn.tasks.run(func() {
		ctx, cancel := context.WithTimeout(w.conn.ctx, w.conn.cfg.timeout)
		defer cancel()
		if err := w.forget(ctx, p); err != nil {
			w.conn.cfg.logger.Debug("the broker may still tell of what nobody watches", "peer", w.conn.addr, "err", err)
		}
	})
}

// Revision is where the watch stands: all changes up to it have been returned, or
// were there when it began. While an event with Resync waits to be taken it is where
// the watch stood before.
func (w *Watch) Revision() int64 {
	revision, _ := w.Position()
	return revision
}

// Position is Revision with the epoch that it is of: what WatchFrom takes.
func (w *Watch) Position() (revision int64, epoch string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen, w.seenIn
}

// position is the revision of the last event that has come; begun is false before
// the broker has told where the watch begins.
func (w *Watch) position() (last int64, epoch string, begun bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.epoch, w.begun
}

// put queues an event. What was seen already comes again when another watch of the
// same part begins earlier.
func (w *Watch) put(e NodeEvent, size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil || !w.begun:
		return // it has ended, or the broker has not said yet where it begins
	case e.Revision <= w.last:
	case e.Resync:
		w.resync(e.Revision)
	case w.bytes+size > w.watches.conn.cfg.subscribing && len(w.waiting) > 0:
		w.resync(e.Revision)
	default:
		w.last = e.Revision
		w.waiting = append(w.waiting, waitingEvent{e, size})
		w.bytes += size
		w.wake()
	}
}

// resync drops what waits and says so, with the lock held.
func (w *Watch) resync(revision int64) {
	w.last = revision
	clear(w.waiting)
	w.waiting = append(w.waiting[:0], waitingEvent{NodeEvent{Revision: revision, Resync: true}, 0})
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

// Next waits for the next event. The error is ctx's, or says why the watch ended:
// it was closed, the Conn was, or the broker has refused it after a reconnect.
func (w *Watch) Next(ctx context.Context) (NodeEvent, error) {
	for {
		if e, ok, err := w.take(); ok || err != nil {
			return e, err
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return NodeEvent{}, w.over(ctx)
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
	e = w.waiting[0].NodeEvent
	w.bytes -= w.waiting[0].size
	w.waiting[0] = waitingEvent{}
	if w.waiting = w.waiting[1:]; len(w.waiting) > 0 {
		w.wake() // for another one who waits
	} else {
		w.waiting = nil
	}
	w.seen, w.seenIn = e.Revision, w.epoch
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

// ended says whether the watch has ended.
func (w *Watch) ended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err != nil
}

// await waits until there is something to take, and takes nothing.
func (w *Watch) await(ctx context.Context) error {
	for {
		select {
		case <-w.ready: // it may be an old one
		case <-ctx.Done():
			return w.over(ctx)
		}
		w.mu.Lock()
		some := len(w.waiting) > 0 || w.err != nil
		if some {
			w.wake()
		}
		w.mu.Unlock()
		if some {
			return nil
		}
	}
}

// over is the error of a wait that the context has ended.
func (w *Watch) over(ctx context.Context) error {
	return &abstract.Error{Code: abstract.CodeOf(ctx.Err()), Op: "read a watch", Message: "the context is over", Err: ctx.Err()}
}
