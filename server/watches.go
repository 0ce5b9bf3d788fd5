package server

import (
	"strings"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/business/node"
	"trefoil/concrete/message"
)

// watchKey names one watch of one connection.
type watchKey struct {
	conn  node.ConnID
	path  string
	scope abstract.NodeScope
}

// watch is the queue of a watched part of the tree at one connection. A watcher
// that does not keep up loses events of its own and is told to read again.
type watch struct {
	abstract.Lane
	conn *conn
	last atomic.Int64 // revision of the newest event that was queued, or lost
}

// told are the forms of one event, the longer ones first: whole, without data, and
// the order to read again. They are made as they are needed, and the same for all.
type told struct {
	event  *message.NodeEvent
	frames [][]byte
	packed map[packedFrame][]byte // nil: nobody has been sent what is compressed
}

// packedFrame names a form of an event that is compressed.
type packedFrame struct {
	whole  *byte // the first of it before
	method abstract.CompressMethod
}

// pack returns a form of the event as a watcher takes it, compressed once for each
// method.
func (f *told) pack(c *conn, frame []byte) []byte {
	m := c.packing()
	if m == abstract.CompressNone || !c.ep.protocol.Packs(len(frame)) {
		return frame
	}
	key := packedFrame{&frame[0], m}
	if f.packed[key] == nil {
		if f.packed == nil {
			f.packed = make(map[packedFrame][]byte)
		}
		f.packed[key] = c.ep.protocol.Pack(m, frame)
	}
	return f.packed[key]
}

// frame returns the longest form within a limit; nil: there is none.
func (f *told) frame(ep *endpoint, limit int) []byte {
	for i := 0; ; i++ {
		if i == len(f.frames) {
			if i > 0 && f.event.Resync {
				return nil // there is no shorter one
			}
			if i > 0 {
				f.event = node.Smaller(f.event)
			}
			b, err := ep.protocol.Append(nil, f.event)
			if err != nil { // above our own limit of a frame
				b = nil
			}
			f.frames = append(f.frames, b)
		}
		if b := f.frames[i]; b != nil && len(b) <= limit {
			return b
		}
	}
}

// push queues an event at everybody who watches what it is about.
func (s *NodeServer) push(n node.Notice) {
	all := told{event: n.Event}
	for _, id := range n.Conns {
		if w := s.watches[watchKey{id, n.Event.Path, n.Event.Scope}]; w != nil {
			s.queue(w, &all, n.Event.Revision)
			s.index.tell(w.conn)
		}
	}
}

// queue queues an event. Who cannot even be told to read again is closed, and will
// know by that.
func (s *NodeServer) queue(w *watch, event *told, revision int64) {
	w.last.Store(revision)
	b := event.frame(s.ep, w.conn.judge.MaxFrame())
	if b == nil {
		w.conn.Close(abstract.Errorf(abstract.TooLarge, "the peer takes no frame that is long enough to name what it watches"))
		return
	}
	err := w.Queue(abstract.Frame{Class: abstract.ClassTopic, Count: 1, Bytes: event.pack(w.conn, b)})
	if abstract.CodeOf(err) == abstract.Overloaded {
		w.conn.Close(abstract.Errorf(abstract.Overloaded, "the peer reads none of what it watches"))
	}
}

// gap is the order to read again, for who has lost events.
func (s *NodeServer) gap(w *watch, path string, scope abstract.NodeScope) abstract.Frame {
	frame, _ := w.conn.encode(&message.NodeEvent{Path: path, Scope: scope, Revision: w.last.Load(), Resync: true})
	frame.Free = nil
	return frame
}

// watch makes a connection a watcher. The answer, what it has missed and what comes
// from then on are queued in this order, with nothing lost in between.
func (s *NodeServer) watch(c *conn, m *message.NodeRequest) {
	s.index.Lock()
	defer s.index.Unlock()
	a := &m.NodeAction
	key := watchKey{node.ConnID(c.id), strings.Clone(a.Path), a.Scope} // it was a piece of the request
	rsp, missed, err := s.nodes.Watch(key.conn, a)
	if err != nil {
		c.refuse(m, err)
		return
	}
	w := s.watches[key]
	if w == nil {
		w = &watch{conn: c}
		w.Lane = c.NewLane(abstract.LaneConfig{MaxBytes: s.ep.limits.Load().WatcherQueue, Policy: abstract.DropOldest, Gap: func(uint64) abstract.Frame {
			return s.gap(w, key.path, key.scope)
		}})
		s.watches[key] = w
	}
	events, ok := s.recent(w, missed)
	if !ok {
		rsp.Resync, rsp.Revision = true, s.nodes.Applied()
	}
	rsp.Header = message.ID(m.ID())
	c.reply(rsp)
	for i := range events {
		s.queue(w, &events[i], missed[i].Revision)
	}
}

// recent encodes what a watcher has missed. It is not ok when that is more than may
// wait for it.
func (s *NodeServer) recent(w *watch, missed []*message.NodeEvent) (events []told, ok bool) {
	size, limit := 0, w.conn.judge.MaxFrame()
	for _, e := range missed {
		event := told{event: e}
		if size += len(event.frame(s.ep, limit)); size > s.ep.limits.Load().WatcherQueue {
			return nil, false
		}
		events = append(events, event)
	}
	return events, true
}

// unwatch ends a watch. When there is none, what was asked for is the case.
func (s *NodeServer) unwatch(c *conn, m *message.NodeRequest) {
	s.index.Lock()
	defer s.index.Unlock()
	key := watchKey{node.ConnID(c.id), m.Path, m.Scope}
	if err := node.CheckWatch(&m.NodeAction); err != nil {
		c.refuse(m, err)
		return
	}
	s.nodes.Unwatch(key.conn, key.path, key.scope)
	if w := s.watches[key]; w != nil {
		w.Close()
		delete(s.watches, key)
	}
	c.reply(&message.NodeResponse{Header: message.ID(m.ID()), Revision: s.nodes.Applied(), Epoch: s.index.store.Epoch()})
}

// forget ends all watches of a connection.
func (s *NodeServer) forget(c *conn) {
	for _, part := range s.nodes.Forget(node.ConnID(c.id)) {
		key := watchKey{node.ConnID(c.id), part.Path, part.Scope}
		s.watches[key].Close()
		delete(s.watches, key)
	}
}
