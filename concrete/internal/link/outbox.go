package link

import (
	"sync"

	"trefoil/abstract"
)

const (
	batchBytes   = 256 << 10 // one write takes this much, so that a higher class gets in between
	batchEntries = 256
	slowBytes    = 64 << 10 // the same while the socket is full
)

// outbox holds what waits to be written: one queue for each class, and inside the
// topic class one for each lane. It also says who writes: whoever owns it. Nothing
// here blocks but its mutex, which is never held during a write.
type outbox struct {
	mu sync.Mutex
	*queues

	laneBytes int
	frames    int                // frames waiting in all
	deadToks  int                // tokens of closed lanes in the topic ring
	limit     int                // of each class, and of all lanes together
	rooms     map[*lane][]func() // who waits for room in a lane; nil: nobody does

	owned     bool // somebody writes
	corked    bool // nobody may write yet
	refusing  bool // nothing more is taken: Shutdown
	closed    bool
	onDrained chan struct{} // closed when nothing waits and nobody writes; nil while nobody asks
}

// queues is the part of an outbox that exists while something waits: an idle
// connection leaves it to others.
type queues struct {
	spare []*ring[laneFrame] // of lanes that have become empty, for others
	rings [abstract.Classes]ring[entry]
	bytes [abstract.Classes]int // frames of the class itself; lanes are counted in laneBytes
}

var spareQueues = sync.Pool{New: func() any { return new(queues) }}

// open makes the queues. It is called with the lock held.
func (o *outbox) open() {
	if o.queues == nil {
		o.queues = spareQueues.Get().(*queues)
	}
}

// sparesKept is how many empty rings queues keep for lanes.
const sparesKept = 32

// framesForLane returns an empty ring. The queues are there.
func (o *outbox) framesForLane() *ring[laneFrame] {
	n := len(o.spare) - 1
	if n < 0 {
		return new(ring[laneFrame])
	}
	r := o.spare[n]
	o.spare = o.spare[:n]
	return r
}

// keepForLane takes back a ring, which is empty. The queues are there.
func (o *outbox) keepForLane(r *ring[laneFrame]) {
	if len(o.spare) < sparesKept {
		r.shrink(ringKept)
		o.spare = append(o.spare, r)
	}
}

// rest gives the queues back, which must be empty. It is called with the lock held.
func (o *outbox) rest() {
	if o.queues != nil {
		spareQueues.Put(o.queues)
		o.queues = nil
	}
}

// queued is how many bytes of the class itself wait.
func (o *outbox) queued(class abstract.Class) int {
	if o.queues == nil {
		return 0
	}
	return o.bytes[class]
}

// push queues a frame of the class itself. With own set, it also tries to become
// the owner; owned says that it did.
func (o *outbox) push(f abstract.Frame, own bool) (owned bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.refusing {
		return false, errGone()
	}
	if len(f.Bytes) == 0 {
		return false, nil
	}
	if f.Class >= abstract.Classes {
		f.Class = abstract.ClassTopic
	}
	if o.queued(f.Class)+len(f.Bytes) > o.limit {
		return false, errQueueFull(f.Class, o.limit)
	}
	o.open()
	o.bytes[f.Class] += len(f.Bytes)
	o.frames++
	o.rings[f.Class].push(entry{bytes: f.Bytes, mark: f.Mark, free: f.Free, count: f.Count})
	return own && o.own(), nil
}

// own makes the caller the owner when there is something to write and no other
// owner. It is called with the lock held.
func (o *outbox) own() bool {
	if o.owned || o.corked || o.closed || o.frames == 0 {
		return false
	}
	o.owned = true
	return true
}

// tryOwn is own with the lock taken.
func (o *outbox) tryOwn() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.own()
}

// busy reports whether something waits or is being written.
func (o *outbox) busy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closed && (o.owned || o.frames > 0)
}

// next fills b with what the owner writes next, at most about limit bytes. False
// means that nothing waits, and the caller is not the owner any more.
func (o *outbox) next(b *batch, limit int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.queues != nil {
		for class := range o.rings {
			o.take(b, abstract.Class(class), limit)
		}
	}
	if len(b.entries) > 0 {
		return true
	}
	o.rest() // take has found nothing in any ring
	o.owned = false
	if o.onDrained != nil {
		close(o.onDrained)
		o.onDrained = nil
	}
	return false
}

// take moves entries of one class to b, with the lock held.
func (o *outbox) take(b *batch, class abstract.Class, limit int) {
	r := &o.rings[class]
	for r.n > 0 && b.size < limit && len(b.entries) < batchEntries {
		e := r.at(0)
		if e.lane == nil {
			o.bytes[class] -= len(e.bytes)
			b.take(o, r.pop())
			continue
		}
		l := e.lane
		if e.count--; e.count == 0 {
			r.pop()
		}
		if f, ok := l.pop(); ok {
			b.take(o, f)
		}
	}
	r.shrink(classKept)
}

// take moves one frame to b.
func (b *batch) take(o *outbox, e entry) {
	o.frames--
	b.entries = append(b.entries, e)
	b.size += len(e.bytes)
}

// uncork allows writing, and makes the caller the owner when something waits.
func (o *outbox) uncork() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.corked = false
	return o.own()
}

// refuse makes every later push fail, and returns a channel that is closed when
// what waits has been written, or dropped by close.
func (o *outbox) refuse() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refusing = true
	if o.onDrained != nil {
		return o.onDrained
	}
	drained := make(chan struct{})
	if o.closed || (!o.owned && o.frames == 0) {
		close(drained)
		return drained
	}
	o.onDrained = drained
	return drained
}

// close drops what waits. Marks that were not taken stay withdrawable.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.frames, o.laneBytes = 0, 0
	o.queues = nil // a lane's own frames go with the lane
	if o.onDrained != nil {
		close(o.onDrained)
		o.onDrained = nil
	}
}
