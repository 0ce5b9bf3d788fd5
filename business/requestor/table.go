package requestor

import "time"

// table holds calls by slot. Its owner's lock guards it. A call enters it by put
// and leaves it by remove, expire or clear, which all go through take.
type table struct {
	slots []slot // the first is never used: 0 means none
	free  uint32 // head of the chain of free slots
	salt  uint32 // of the last id, so that the ids of one slot differ
	live  int
	wheel wheel
}

// slot holds one call, and links it with others that are due at the same time. A
// free slot has no call, and next leads to another free one.
type slot struct {
	p          *Pending
	next, prev uint32
}

// idleSlots is how large a table without calls may stay: the memory of a burst
// is given back.
const idleSlots = 1024

// put stores a call and gives it its id.
func (t *table) put(p *Pending, deadline time.Time) {
	if t.free == 0 {
		t.grow()
	}
	p.slot = t.free
	t.free = t.slots[p.slot].next
	t.salt++
	formatID(&p.id, p.slot, t.salt)
	t.slots[p.slot] = slot{p: p}
	t.live++
	t.file(p, deadline)
}

// grow doubles the table and chains the new slots, lowest first.
func (t *table) grow() {
	old := max(1, len(t.slots))
	grown := make([]slot, max(16, 2*old))
	copy(grown, t.slots)
	for i := old; i < len(grown)-1; i++ {
		grown[i].next = uint32(i + 1)
	}
	t.slots, t.free = grown, uint32(old)
}

// find returns the call with an id, or nil.
func (t *table) find(id string) *Pending {
	slot, ok := slotOf(id)
	if !ok || int64(slot) >= int64(len(t.slots)) {
		return nil
	}
	if p := t.slots[slot].p; p != nil && p.ID() == id {
		return p
	}
	return nil
}

// remove takes a call out; false means that it was not there any more.
func (t *table) remove(p *Pending) bool {
	if int64(p.slot) >= int64(len(t.slots)) || t.slots[p.slot].p != p {
		return false
	}
	t.take(p)
	t.trim()
	return true
}

// take frees the slot of a call that is there.
func (t *table) take(p *Pending) {
	t.unfile(p)
	t.slots[p.slot] = slot{next: t.free}
	t.free = p.slot
	t.live--
}

// trim gives back what a table without calls does not need.
func (t *table) trim() {
	if t.live == 0 && len(t.slots) > idleSlots {
		t.slots, t.free = nil, 0
	}
}

// clear takes all calls out.
func (t *table) clear() []*Pending {
	all := make([]*Pending, 0, t.live)
	for _, s := range t.slots {
		if s.p != nil {
			all = append(all, s.p)
		}
	}
	*t = table{salt: t.salt}
	return all
}
