package link

import "trefoil/abstract"

var _ abstract.Lane = (*lane)(nil)

// lane is the queue of one subscription. Its frames stand here, and a token in
// the ring of the topic class says where each is due. When frames are dropped
// their tokens stay for the frames that follow, so there are never more tokens
// than the lane once had frames, and none is written later than its token allows.
// All fields are guarded by the lock of the connection's outbox. There may be a million
// of them, idle as a rule: it fills a cache line, and has no other memory while it is empty.
type lane struct {
	conn    *Conn
	notice  func(missed uint64) abstract.Frame // LaneConfig.Gap
	max     int                                // bytes
	frames  *ring[laneFrame]                   // nil: none waits
	bytes   int
	gap     uint64 // dropped since the last notice
	missed  uint64 // dropped since the lane was opened
	tokens  int32
	policy  abstract.Policy
	closed  bool
	awaited bool // somebody waits for room: outbox.rooms
}

// waits is how many frames wait.
func (l *lane) waits() int {
	if l.frames == nil {
		return 0
	}
	return l.frames.n
}

// Queue appends f or drops by the policy. A frame for a lane that was closed is
// dropped without an error. The error of one that DropOldest finds no room for is
// Overloaded; with CloseConnection it is the one the connection is closed with.
func (l *lane) Queue(f abstract.Frame) error {
	o := &l.conn.out
	o.mu.Lock()
	if o.closed || o.refusing {
		o.mu.Unlock()
		return errGone()
	}
	full, policy := l.queue(o, f), l.policy
	o.mu.Unlock()
	if !full || policy == abstract.DropNewest {
		return nil
	}
	err := errLaneFull(l.max)
	if policy == abstract.CloseConnection {
		l.conn.Close(err)
	}
	return err
}

// SetPolicy changes the policy.
func (l *lane) SetPolicy(p abstract.Policy) {
	l.conn.out.mu.Lock()
	defer l.conn.out.mu.Unlock()
	l.policy = p
}

// queue reports whether f, which was not taken, found the lane full.
func (l *lane) queue(o *outbox, f abstract.Frame) (full bool) {
	if l.closed || len(f.Bytes) == 0 {
		return false
	}
	if l.policy == abstract.DropOldest {
		for l.frames != nil && !l.fits(o, len(f.Bytes)) {
			l.dropOldest(o)
		}
	}
	if !l.fits(o, len(f.Bytes)) {
		l.lose(f.Count)
		return true
	}
	o.open()
	if l.frames == nil {
		l.frames = o.framesForLane()
	}
	l.frames.push(laneFrame{bytes: f.Bytes, count: f.Count})
	l.bytes += len(f.Bytes)
	o.laneBytes += len(f.Bytes)
	o.frames++
	if int(l.tokens) < l.frames.n {
		l.tokens++
		o.due(l)
	}
	return false
}

// due puts a token of a lane at the end of the topic class.
func (o *outbox) due(l *lane) {
	r := &o.rings[abstract.ClassTopic]
	if r.n > 0 {
		if last := r.at(r.n - 1); last.lane == l {
			last.count++
			return
		}
	}
	r.push(entry{lane: l, count: 1})
}

// fits reports whether n more bytes may wait: in this lane, where a single frame
// always may, and in all lanes of the connection together.
func (l *lane) fits(o *outbox, n int) bool {
	if o.laneBytes+n > o.limit {
		return false
	}
	return l.frames == nil || l.bytes+n <= l.max
}

func (l *lane) dropOldest(o *outbox) {
	e := l.takeFrame()
	l.bytes -= len(e.bytes)
	o.laneBytes -= len(e.bytes)
	o.frames--
	l.lose(e.count)
}

// takeFrame takes the first frame, of one at least, and gives the ring back with the last.
func (l *lane) takeFrame() laneFrame {
	f := l.frames.pop()
	if l.frames.n == 0 {
		l.conn.out.keepForLane(l.frames)
		l.frames = nil
	}
	return f
}

func (l *lane) lose(count int) {
	l.gap += uint64(max(count, 1))
	l.missed += uint64(max(count, 1))
}

// pop redeems one token. ok is false when its frame was dropped meanwhile.
func (l *lane) pop() (e entry, ok bool) {
	o := &l.conn.out
	l.tokens--
	if l.closed {
		o.deadToks--
		return entry{}, false
	}
	if l.frames == nil {
		return entry{}, false
	}
	f := l.takeFrame()
	l.bytes -= len(f.bytes)
	o.laneBytes -= len(f.bytes)
	if l.awaited && l.roomy(o) {
		l.tellRoom()
	}
	e = entry{bytes: f.bytes, count: f.count, lane: l, gap: l.gap}
	l.gap = 0
	return e, true
}

// Close drops what waits. Its tokens are swept out of the ring once they are many.
func (l *lane) Close() {
	o := &l.conn.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	l.tellRoom()
	if !o.closed {
		o.frames -= l.waits()
		o.laneBytes -= l.bytes
		o.deadToks += int(l.tokens)
		o.sweep()
	}
	l.frames, l.bytes = nil, 0
}

// sweep removes the tokens of closed lanes when they are most of the ring: a peer
// that reads nothing and subscribes and cancels in turn must not grow it.
func (o *outbox) sweep() {
	if o.queues == nil {
		return
	}
	r := &o.rings[abstract.ClassTopic]
	if o.deadToks < 64 || o.deadToks < r.n/2 {
		return
	}
	r.keep(func(e *entry) bool { return e.lane == nil || !e.lane.closed })
	o.deadToks = 0
}

// Missed returns how many messages were dropped since the lane was opened.
func (l *lane) Missed() uint64 {
	l.conn.out.mu.Lock()
	defer l.conn.out.mu.Unlock()
	return l.missed
}

// Room returns how many bytes the lane takes without dropping any.
func (l *lane) Room() int {
	o := &l.conn.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if l.frames == nil {
		return max(0, o.limit-o.laneBytes)
	}
	return max(0, min(l.max-l.bytes, o.limit-o.laneBytes))
}

// OnRoom calls fn once there is room.
func (l *lane) OnRoom(fn func()) {
	o := &l.conn.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rooms == nil {
		o.rooms = make(map[*lane][]func())
	}
	l.awaited, o.rooms[l] = true, append(o.rooms[l], fn)
	if l.closed || o.closed || l.roomy(o) {
		l.tellRoom()
	}
}

// roomy reports whether half of the lane is free. It is called with the lock held.
func (l *lane) roomy(o *outbox) bool {
	return (l.frames == nil || 2*l.bytes <= l.max) && 2*o.laneBytes <= o.limit
}

// tellRoom is called with the lock held.
func (l *lane) tellRoom() {
	if !l.awaited {
		return
	}
	o := &l.conn.out
	for _, fn := range o.rooms[l] {
		go fn()
	}
	delete(o.rooms, l)
	l.awaited = false
	if len(o.rooms) == 0 {
		o.rooms = nil
	}
}
