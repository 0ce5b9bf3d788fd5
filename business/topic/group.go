package topic

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// Group shares messages among its members: each goes to one of them, and is in its
// hands until it is done with it. Who has least in hand gets the next one, and nobody
// more than its window; what nobody has room for waits. What a member that leaves had in
// hand goes to others, before what waits; what failed can rest before that.
//
// It holds no clock and no goroutine, and is not safe for concurrent use.
type Group struct {
	cfg     GroupConfig
	members members
	waiting []*Item // in order of their numbers
	resting resting // nobody may have them yet
	bytes   int     // of both
	held    int     // bytes in hands
	last    uint64  // number of the last item
	turns   uint64  // counts what was given
}

// GroupConfig bounds what waits. The zero value has no bounds: for who offers no more
// than Room.
type GroupConfig struct {
	MaxBytes int // above it what waits longest is dropped; one may always wait; 0: no bound
}

// Item is one message on its way to a member.
type Item struct {
	Message   any // the caller's
	Size      int // bytes
	Delivered int // how often it was given to a member
	Failed    int // the caller's: how often a member has given it back
	// Only says which members may have it; nil: all. An item that none of the members may
	// have is dropped when its turn comes.
	Only   func(*Subscription) bool
	number uint64
	until  time.Time // it rests
}

// Member is one subscription of a group.
type Member struct {
	Sub    *Subscription
	window int
	hands  map[uint64]*Item // by delivery
	last   uint64           // delivery
	turn   uint64           // when it was given something last
	index  int              // in members; -1: it has left
	paused bool
}

// InHand is how many items the member has.
func (m *Member) InHand() int { return len(m.hands) }

// members is a heap: who is to get the next item is the first.
type members []*Member

func (h members) Len() int { return len(h) }
func (h members) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(
		compareBool(a.full(), b.full()),
		cmp.Compare(len(a.hands), len(b.hands)),
		cmp.Compare(a.turn, b.turn),
	) < 0
}
func (h members) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }

// Push adds a *Member; it is for package heap.
func (h *members) Push(x any) { m := x.(*Member); m.index = len(*h); *h = append(*h, m) }

// Pop removes the last one; it is for package heap.
func (h *members) Pop() any {
	old := *h
	m := old[len(old)-1]
	old[len(old)-1] = nil
	*h, m.index = old[:len(old)-1], -1
	return m
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (m *Member) full() bool { return m.paused || len(m.hands) >= m.window }

// NewGroup makes a Group without members.
func NewGroup(cfg GroupConfig) *Group { return &Group{cfg: cfg} }

// Join adds a member that takes window items at a time, one at least.
func (g *Group) Join(sub *Subscription, window int) *Member {
	m := &Member{Sub: sub, window: max(1, window), hands: make(map[uint64]*Item), turn: g.turns}
	heap.Push(&g.members, m)
	return m
}

// Len is how many members there are.
func (g *Group) Len() int { return len(g.members) }

// Waiting is how many items wait for a member with room.
func (g *Group) Waiting() int { return len(g.waiting) }

// Bytes is how large those are, those that rest, and those in the hands of members.
func (g *Group) Bytes() int { return g.bytes + g.held }

// Fits reports whether an item of this size can be offered without any being dropped.
func (g *Group) Fits(size int) bool {
	return g.cfg.MaxBytes == 0 || g.bytes == 0 || g.bytes+size <= g.cfg.MaxBytes
}

// Leave removes a member. What it had in hand waits again. Leaving again does nothing.
func (g *Group) Leave(m *Member) {
	if m.index < 0 {
		return
	}
	heap.Remove(&g.members, m.index)
	for _, it := range m.hands {
		g.held -= it.Size
		g.putBack(it)
	}
	m.hands = nil
}

// TakeBack is Leave for who keeps the items elsewhere: it returns what the member had in
// hand, in order, and nothing of it waits here.
func (g *Group) TakeBack(m *Member) []*Item {
	if m.index < 0 {
		return nil
	}
	heap.Remove(&g.members, m.index)
	var list []*Item
	for _, it := range m.hands {
		list = append(list, it)
		g.held -= it.Size
	}
	slices.SortFunc(list, func(a, b *Item) int { return cmp.Compare(a.number, b.number) })
	m.hands = nil
	return list
}

func (g *Group) putBack(it *Item) {
	i, _ := slices.BinarySearchFunc(g.waiting, it, func(a, b *Item) int { return cmp.Compare(a.number, b.number) })
	g.waiting = slices.Insert(g.waiting, i, it)
	g.bytes += it.Size
}

// Offer adds an item, and returns how many were dropped for want of room.
func (g *Group) Offer(it *Item) (dropped int) {
	g.last++
	it.number = g.last
	for !g.Fits(it.Size) && g.DropOldest() {
		dropped++
	}
	g.waiting = append(g.waiting, it)
	g.bytes += it.Size
	return dropped
}

func (g *Group) pop() *Item {
	it := g.waiting[0]
	g.waiting[0] = nil
	if g.waiting = g.waiting[1:]; len(g.waiting) == 0 {
		g.waiting = nil
	}
	g.bytes -= it.Size
	return it
}

// DropOldest drops what waits longest, or, when nothing waits, what has rested longest. It
// returns false when there is nothing of either.
func (g *Group) DropOldest() bool {
	switch {
	case len(g.waiting) > 0:
		g.pop()
	case len(g.resting) > 0:
		g.rise()
	default:
		return false
	}
	return true
}

// Next gives the first item that waits, and that a member with room may have, to that
// member, and returns which delivery of it it is. Not ok: there is no such.
func (g *Group) Next() (m *Member, delivery uint64, it *Item, ok bool) {
	for i := 0; i < min(len(g.waiting), lookAhead) && len(g.members) > 0 && !g.members[0].full(); {
		it = g.waiting[i]
		m, some := g.taker(it)
		switch {
		case m != nil:
			g.remove(i)
			it.Delivered++
			m.last++
			g.turns++
			m.hands[m.last], m.turn = it, g.turns
			g.held += it.Size
			heap.Fix(&g.members, m.index)
			return m, m.last, it, true
		case some:
			i++ // the next one may be for somebody who has room
		default:
			g.remove(i)
		}
	}
	return nil, 0, nil, false
}

// lookAhead bounds how far Next looks behind items that are for members without room.
const lookAhead = 64

// taker returns who is to get an item; some: somebody may have it, at least.
func (g *Group) taker(it *Item) (best *Member, some bool) {
	if it.Only == nil {
		return g.members[0], true
	}
	for i, m := range g.members {
		if !it.Only(m.Sub) {
			continue
		}
		some = true
		if !m.full() && (best == nil || g.members.Less(i, best.index)) {
			best = m
		}
	}
	return best, some
}

// remove takes an item out of those that wait.
func (g *Group) remove(i int) {
	if i == 0 {
		g.pop()
		return
	}
	g.bytes -= g.waiting[i].Size
	g.waiting = slices.Delete(g.waiting, i, i+1)
}

// Pause keeps a member from being given more, until it is called with false.
func (g *Group) Pause(m *Member, paused bool) {
	if m.index >= 0 && m.paused != paused {
		m.paused = paused
		heap.Fix(&g.members, m.index)
	}
}

// Undo gives an item back that Next has just returned, as if it had not.
func (g *Group) Undo(m *Member, delivery uint64) {
	if it, ok := g.Done(m, delivery); ok {
		it.Delivered--
		g.putBack(it)
	}
}

// Drain takes out everything that waits, in order.
func (g *Group) Drain() []*Item {
	list := g.waiting
	g.waiting = nil
	for _, it := range list {
		g.bytes -= it.Size
	}
	return list
}

// Room is how many items could be offered and given at once.
func (g *Group) Room() int {
	room := -len(g.waiting)
	for _, m := range g.members {
		if !m.paused {
			room += max(0, m.window-len(m.hands))
		}
	}
	return max(0, room)
}

// Done takes an item out of a member's hands. Not ok: it does not have it.
func (g *Group) Done(m *Member, delivery uint64) (it *Item, ok bool) {
	if it, ok = m.hands[delivery]; !ok {
		return nil, false
	}
	delete(m.hands, delivery)
	g.held -= it.Size
	heap.Fix(&g.members, m.index)
	return it, true
}

// Held is an item in a member's hands; nil when it does not have it.
func (m *Member) Held(delivery uint64) *Item { return m.hands[delivery] }

// Return gives an item that Done has returned to others, before what waits.
func (g *Group) Return(it *Item) { g.putBack(it) }
