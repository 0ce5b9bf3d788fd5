package lv

import (
	"sync"

	"trefoil/abstract"
)

const (
	slabBytes = 8 << 10 // small, because one frame that waits keeps its whole slab
	slabLeast = 512     // with less room than this, the next frame gets a new slab
)

// slab is memory that the frames of many messages are cut from. Frames are never
// written again, and the collector frees the slab after the last of them.
type slab struct{ free []byte }

var slabs = sync.Pool{New: func() any { return new(slab) }}

// Encode returns m's frame, in memory that nobody writes again. The limits are
// those of Append.
func (p *Protocol) Encode(m abstract.BaseMessage) ([]byte, error) {
	s := slabs.Get().(*slab)
	defer slabs.Put(s)
	if cap(s.free) < slabLeast {
		s.free = make([]byte, 0, slabBytes)
	}
	frame, err := p.Append(s.free, m)
	if err != nil {
		return nil, err
	}
	if n := len(frame); n <= cap(s.free) { // it did not need memory of its own
		s.free = s.free[n:n:cap(s.free)]
	}
	return frame[:len(frame):len(frame)], nil
}
