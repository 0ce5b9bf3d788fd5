package memstore

import (
	"container/heap"
	"maps"
	"slices"
	"time"

	"trefoil/abstract"
)

// stall is by how much the timer may come late before we take it that the whole
// process stood still: then nobody could keep a lease alive, and each gets that
// time on top.
const stall = 250 * time.Millisecond

// lease is one lease and the keys that go with it.
type lease struct {
	id       abstract.LeaseID
	ttl      time.Duration
	deadline time.Time // moves with every KeepAlive
	queued   time.Time // its place in the queue, at or before deadline
	index    int       // in the queue
	keys     map[string]struct{}
}

// leases are all leases of a Store, which locks. Its zero value is empty.
//
// Keeping alive does not touch the queue: a lease whose turn comes goes back into
// it when its deadline has moved. One timer waits for the first of the queue.
type leases struct {
	last  abstract.LeaseID
	byID  map[abstract.LeaseID]*lease
	byKey map[string]*lease // the keys that have one
	queue queue
	timer *time.Timer
	due   time.Time // when the timer fires
}

// grant adds a lease. expire is called, by a goroutine of its own, when one is due.
func (l *leases) grant(ttl time.Duration, expire func()) abstract.LeaseID {
	if l.timer == nil {
		l.byID, l.byKey = map[abstract.LeaseID]*lease{}, map[string]*lease{}
		l.timer = time.AfterFunc(ttl, expire)
		l.due = time.Now().Add(ttl)
	}
	l.last++
	deadline := time.Now().Add(ttl)
	added := &lease{id: l.last, ttl: ttl, deadline: deadline, queued: deadline}
	l.byID[added.id] = added
	heap.Push(&l.queue, added)
	if added.index == 0 {
		l.arm()
	}
	return added.id
}

func (l *leases) keepAlive(id abstract.LeaseID) error {
	of, ok := l.byID[id]
	if !ok {
		return noLease("keep alive", id)
	}
	of.deadline = time.Now().Add(of.ttl)
	return nil
}

// revoke forgets a lease and returns its keys.
func (l *leases) revoke(id abstract.LeaseID) ([]string, error) {
	of, ok := l.byID[id]
	if !ok {
		return nil, noLease("revoke", id)
	}
	heap.Remove(&l.queue, of.index)
	return l.forget(of), nil
}

// expired forgets the leases whose time is over, returns the keys of each, and
// sets the timer for the next.
func (l *leases) expired() [][]string {
	now := time.Now()
	if late := now.Sub(l.due); late > stall {
		l.extend(late)
	}
	var gone [][]string
	for len(l.queue) > 0 && !l.queue[0].queued.After(now) {
		first := l.queue[0]
		if first.deadline.After(now) {
			first.queued = first.deadline
			heap.Fix(&l.queue, 0)
			continue
		}
		heap.Pop(&l.queue)
		gone = append(gone, l.forget(first))
	}
	if len(l.queue) > 0 {
		l.arm()
	}
	return gone
}

// extend gives every lease more time.
func (l *leases) extend(by time.Duration) {
	for _, of := range l.queue {
		of.deadline = of.deadline.Add(by)
	}
}

// arm sets the timer to the first of the queue.
func (l *leases) arm() {
	l.due = l.queue[0].queued
	l.timer.Reset(time.Until(l.due))
}

// check refuses operations whose lease is gone.
func (l *leases) check(ops []abstract.Op) error {
	for i := range ops {
		id := ops[i].Lease
		if id == 0 || ops[i].Delete {
			continue
		}
		if _, ok := l.byID[id]; !ok {
			return noLease("txn", id)
		}
	}
	return nil
}

// bind gives op's key the lease it asks for, or none.
func (l *leases) bind(op *abstract.Op) {
	if len(l.byKey) > 0 {
		if old := l.byKey[op.Key]; old != nil {
			delete(old.keys, op.Key)
			delete(l.byKey, op.Key)
		}
	}
	if op.Lease == 0 || op.Delete {
		return
	}
	of := l.byID[op.Lease]
	if of.keys == nil {
		of.keys = map[string]struct{}{}
	}
	of.keys[op.Key] = struct{}{}
	l.byKey[op.Key] = of
}

// forget takes a lease out of the maps and returns its keys in order.
func (l *leases) forget(of *lease) []string {
	delete(l.byID, of.id)
	for key := range of.keys {
		delete(l.byKey, key)
	}
	return slices.Sorted(maps.Keys(of.keys))
}

func (l *leases) close() {
	if l.timer != nil {
		l.timer.Stop()
	}
	*l = leases{}
}

func noLease(op string, id abstract.LeaseID) error {
	err := abstract.Errorf(abstract.NotFound, "lease %d has ended; ask for a new one", id)
	err.Op = op
	return err
}

// queue is a heap of leases, the next to look at first.
type queue []*lease

// Len is heap.Interface's.
func (q queue) Len() int { return len(q) }

// Less is heap.Interface's.
func (q queue) Less(i, j int) bool { return q[i].queued.Before(q[j].queued) }

// Swap is heap.Interface's.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is heap.Interface's.
func (q *queue) Push(x any) {
	of := x.(*lease)
	of.index = len(*q)
	*q = append(*q, of)
}

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	last := len(*q) - 1
	of := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return of
}
