package topic

import (
	"cmp"
	"container/heap"
	"time"
)

// resting are the items of a group that nobody is to have before a moment: a heap, of which
// the first is the next one.
type resting []*Item

func (h resting) Len() int { return len(h) }
func (h resting) Less(i, j int) bool {
	return cmp.Or(h[i].until.Compare(h[j].until), cmp.Compare(h[i].number, h[j].number)) < 0
}
func (h resting) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push adds an *Item; it is for package heap.
func (h *resting) Push(x any) { *h = append(*h, x.(*Item)) }

// Pop removes the last one; it is for package heap.
func (h *resting) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}

// Rest keeps an item that Done has returned from everybody until a moment; Wake ends that.
func (g *Group) Rest(it *Item, until time.Time) {
	it.until = until
	heap.Push(&g.resting, it)
	g.bytes += it.Size
}

// Wake lets those that have rested until now wait again, before what waits.
func (g *Group) Wake(now time.Time) {
	for len(g.resting) > 0 && !g.resting[0].until.After(now) {
		g.putBack(g.rise())
	}
}

// rise takes out the item that has rested longest.
func (g *Group) rise() *Item {
	it := heap.Pop(&g.resting).(*Item)
	g.bytes -= it.Size
	return it
}

// Resting is how many items rest, and until when the first of them.
func (g *Group) Resting() (n int, next time.Time) {
	if n = len(g.resting); n > 0 {
		next = g.resting[0].until
	}
	return n, next
}
