package link

import "trefoil/abstract"

// entry is one frame that waits, or in a class's ring tokens of a lane: "so many frames
// of that lane are due here".
type entry struct {
	bytes []byte
	mark  *abstract.Mark
	free  func([]byte) // takes bytes back
	lane  *lane
	count int    // messages; of a lane's tokens: how many stand here
	gap   uint64 // in a batch: the messages that lane lost since its last notice
}

// laneFrame is a frame that waits in a lane.
type laneFrame struct {
	bytes []byte
	count int // messages
}

// ring is a first-in first-out queue that keeps little memory when empty.
type ring[E any] struct {
	items []E // len is zero or a power of two
	head  int
	n     int
}

const (
	ringFirst = 4
	ringKept  = 8   // a lane's bigger array is dropped when it gets empty
	classKept = 256 // the same of a class's, which busy connections share
)

func (r *ring[E]) push(e E) {
	if r.n == len(r.items) {
		r.grow()
	}
	r.items[(r.head+r.n)&(len(r.items)-1)] = e
	r.n++
}

func (r *ring[E]) pop() E {
	e, zero := r.items[r.head], *new(E)
	r.items[r.head] = zero
	r.head = (r.head + 1) & (len(r.items) - 1)
	r.n--
	return e
}

// shrink drops the array of an empty ring when it is bigger than kept.
func (r *ring[E]) shrink(kept int) {
	if r.n == 0 && len(r.items) > kept {
		*r = ring[E]{}
	}
}

func (r *ring[E]) at(i int) *E { return &r.items[(r.head+i)&(len(r.items)-1)] }

func (r *ring[E]) grow() {
	items := make([]E, max(ringFirst, 2*len(r.items)))
	for i := range r.n {
		items[i] = *r.at(i)
	}
	r.items, r.head = items, 0
}

// keep removes the entries that ok refuses.
func (r *ring[E]) keep(ok func(*E) bool) {
	var kept ring[E]
	for i := range r.n {
		if e := r.at(i); ok(e) {
			kept.push(*e)
		}
	}
	*r = kept
}
