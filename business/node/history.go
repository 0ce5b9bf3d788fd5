package node

import (
	"slices"

	"trefoil/concrete/message"
)

// history is what the last revisions have changed, for watches that are resumed.
// Its zero value holds nothing, and begins with revision 0.
type history struct {
	maxChanges, maxBytes int

	since   int64 // all changes of higher revisions are here
	past    []revision
	first   int // in past; what is before has been dropped
	changes int
	bytes   int
}

// revision is everything that one revision has changed.
type revision struct {
	number  int64
	changes []message.NodeChange
	bytes   int
}

// begin drops everything: what comes after a revision is kept from now on.
func (h *history) begin(since int64) {
	h.since, h.past, h.first, h.changes, h.bytes = since, nil, 0, 0, 0
}

// add takes a revision in, and drops the oldest for it.
func (h *history) add(number int64, changes []message.NodeChange) {
	if len(changes) == 0 {
		return
	}
	r := revision{number, changes, bytesOf(changes)}
	h.past = append(h.past, r)
	h.changes += len(changes)
	h.bytes += r.bytes
	for h.changes > h.maxChanges || h.bytes > h.maxBytes {
		h.drop()
	}
}

func (h *history) drop() {
	r := &h.past[h.first]
	h.since = r.number
	h.changes -= len(r.changes)
	h.bytes -= r.bytes
	*r = revision{}
	h.first++
	if h.first > len(h.past)/2 { // so that moving costs no more than adding did
		h.past = slices.Delete(h.past, 0, h.first)
		h.first = 0
	}
}

// after returns the revisions above one; it is not ok when some are not here.
func (h *history) after(since int64) (past []revision, ok bool) {
	if since < h.since {
		return nil, false
	}
	past = h.past[h.first:]
	i, _ := slices.BinarySearchFunc(past, since+1, func(r revision, number int64) int { return int(r.number - number) })
	return past[i:], true
}

// bytesOf is about how much memory changes hold: told nodes, and data that the
// Store may have forgotten by then.
func bytesOf(changes []message.NodeChange) int {
	n := 64
	for i := range changes {
		n += 48 + len(changes[i].Path)
		if told := changes[i].Node; told != nil {
			n += 144 + len(told.Data)
		}
	}
	return n
}
