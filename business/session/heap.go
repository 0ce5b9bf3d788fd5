package session

import "container/heap"

// deadlines is a heap: the session that is to be looked at first is at the top.
// Every living session is in it, and knows its place.
type deadlines []*entry

var _ heap.Interface = (*deadlines)(nil)

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline < d[j].deadline }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push is for package heap.
func (d *deadlines) Push(x any) {
	e := x.(*entry) // nothing else is pushed
	e.index = len(*d)
	*d = append(*d, e)
}

// Pop is for package heap.
func (d *deadlines) Pop() any {
	old := *d
	last := len(old) - 1
	e := old[last]
	old[last] = nil
	*d = old[:last]
	return e
}
