package balance

import (
	"cmp"
	"math/bits"
	"slices"
)

// Subset says which of many instances one client uses, so that not every client
// connects to every instance.
//
// The instances stand on a circle in an order made of their addresses, and each
// client takes Size of them in a row. Clients that are numbered 0, 1, 2 ... begin
// at multiples of the golden ratio, which divide the circle evenly however many
// they are; so every instance is used by nearly the same number of clients, and an
// instance that comes or goes changes at most one or two in a client's subset. It
// does what the deterministic subsetting of the SRE book does (chapter 20), with
// positions on a circle as in Twitter's deterministic aperture, so that it is
// stable as well. Clients that take any number for theirs, such as a random one,
// are spread by chance.
type Subset struct {
	Size   int    // how many; 0: all
	Client uint64 // which of the clients this is
}

// golden is 2^64 divided by the golden ratio: the first of multiples that wrap
// around at 2^64 and stay evenly apart.
const golden = 0x9e3779b97f4a7c15

// Of returns the client's part of list, or list when that is no longer than
// Size. Draining instances are left out of a list that is longer. The order of
// list makes no difference.
func (s Subset) Of(list []Instance) []Instance {
	if s.Size <= 0 || len(list) <= s.Size {
		return list
	}
	type placed struct {
		place uint64
		i     int
	}
	order := make([]placed, 0, len(list))
	for i := range list {
		if !list[i].Draining {
			order = append(order, placed{list[i].place(), i})
		}
	}
	slices.SortFunc(order, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(list[a.i].ID, list[b.i].ID))
	})
	n := len(order)
	first, _ := bits.Mul64(s.Client*golden, uint64(n))
	part := make([]Instance, 0, s.Size)
	for k := range min(s.Size, n) {
		part = append(part, list[order[(int(first)+k)%n].i])
	}
	return part
}
