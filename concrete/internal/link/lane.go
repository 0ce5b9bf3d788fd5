package link

import "trefoil/abstract"

var _ abstract.Lane = (*lane)(nil)

// lane is the queue of one subscription. Its frames stand here, and a token in
// the ring of the topic class says where each is due. When frames are dropped
// their tokens stay for the frames that follow, so there are never more tokens
// than the lane once had frames, and none is written later than its token allows.
// All fields are guarded by the lock of the connection's outbox.
type lane struct {
	conn   *Conn
	cfg    abstract.LaneConfig
	frames ring
	bytes  int
	tokens int
	gap    uint64 // dropped since the last notice
	missed uint64 // dropped since the lane was opened
	closed bool
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
	full := l.queue(o, f)
	o.mu.Unlock()
	if !full || l.cfg.Policy == abstract.DropNewest {
		return nil
	}
	err := errLaneFull(l.cfg.MaxBytes)
	if l.cfg.Policy == abstract.CloseConnection {
		l.conn.Close(err)
	}
	return err
}

// queue reports whether f, which was not taken, found the lane full.
func (l *lane) queue(o *outbox, f abstract.Frame) (full bool) {
	if l.closed || len(f.Bytes) == 0 {
		return false
	}
	if l.cfg.Policy == abstract.DropOldest {
		for l.frames.n > 0 && !l.fits(o, len(f.Bytes)) {
			l.dropOldest(o)
		}
	}
	if !l.fits(o, len(f.Bytes)) {
		l.lose(f.Count)
		return true
	}
	l.frames.push(entry{bytes: f.Bytes, mark: f.Mark, count: f.Count})
	l.bytes += len(f.Bytes)
	o.laneBytes += len(f.Bytes)
	o.frames++
	if l.tokens < l.frames.n {
		l.tokens++
		o.open()
		o.rings[abstract.ClassTopic].push(entry{lane: l})
	}
	return false
}

// fits reports whether n more bytes may wait: in this lane, where a single frame
// always may, and in all lanes of the connection together.
func (l *lane) fits(o *outbox, n int) bool {
	if o.laneBytes+n > o.limit {
		return false
	}
	return l.frames.n == 0 || l.bytes+n <= l.cfg.MaxBytes
}

func (l *lane) dropOldest(o *outbox) {
	e := l.frames.pop()
	l.bytes -= len(e.bytes)
	o.laneBytes -= len(e.bytes)
	o.frames--
	l.lose(e.count)
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
	if l.frames.n == 0 {
		return entry{}, false
	}
	e = l.frames.pop()
	l.frames.shrink(ringKept)
	l.bytes -= len(e.bytes)
	o.laneBytes -= len(e.bytes)
	e.lane, e.gap = l, l.gap
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
	if !o.closed {
		o.frames -= l.frames.n
		o.laneBytes -= l.bytes
		o.deadToks += l.tokens
		o.sweep()
	}
	l.frames, l.bytes = ring{}, 0
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
