package link

import "trefoil/abstract"

// entry is one frame that waits, or in a class's ring the token of a lane: "one
// frame of that lane is due here".
type entry struct {
	bytes []byte
	mark  *abstract.Mark
	free  func([]byte) // takes bytes back
	lane  *lane
	count int
	gap   uint64 // in a batch: the messages that lane lost since its last notice
}

// ring is a first-in first-out queue that keeps little memory when empty.
type ring struct {
	items []entry // len is zero or a power of two
	head  int
	n     int
}

const (
	ringFirst = 4
	ringKept  = 8   // a lane's bigger array is dropped when it gets empty
	classKept = 256 // the same of a class's, which busy connections share
)

func (r *ring) push(e entry) {
	if r.n == len(r.items) {
		r.grow()
	}
	r.items[(r.head+r.n)&(len(r.items)-1)] = e
	r.n++
}

func (r *ring) pop() entry {
	e := r.items[r.head]
	r.items[r.head] = entry{}
	r.head = (r.head + 1) & (len(r.items) - 1)
	r.n--
	return e
}

// shrink drops the array of an empty ring when it is bigger than kept.
func (r *ring) shrink(kept int) {
	if r.n == 0 && len(r.items) > kept {
		*r = ring{}
	}
}

func (r *ring) at(i int) *entry { return &r.items[(r.head+i)&(len(r.items)-1)] }

func (r *ring) grow() {
	items := make([]entry, max(ringFirst, 2*len(r.items)))
	for i := range r.n {
		items[i] = *r.at(i)
	}
	r.items, r.head = items, 0
}

// keep removes the entries that ok refuses.
func (r *ring) keep(ok func(*entry) bool) {
	var kept ring
	for i := range r.n {
		if e := r.at(i); ok(e) {
			kept.push(*e)
		}
	}
	*r = kept
}
