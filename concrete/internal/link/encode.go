package link

import (
	"sync"

	"trefoil/abstract"
)

const (
	slabBytes = 4 << 10 // small, because one frame that waits keeps its whole slab
	slabLeast = 256     // with less room than this, the next frame gets a new slab
)

// slab is memory that the frames of many messages are cut from. Frames are never
// written again, and the collector frees the slab after the last of them.
type slab struct{ free []byte }

var slabs = sync.Pool{New: func() any { return new(slab) }}

// Encode returns m's frame in memory that nobody else writes. p may grow it.
func Encode(p abstract.BaseProtocol, m abstract.BaseMessage) ([]byte, error) {
	s := slabs.Get().(*slab)
	if cap(s.free) < slabLeast {
		s.free = make([]byte, 0, slabBytes)
	}
	frame, err := p.Append(s.free, m)
	if err != nil {
		slabs.Put(s)
		return nil, err
	}
	n := len(frame)
	if n > 0 && n <= cap(s.free) && &frame[0] == &s.free[:1][0] {
		s.free = s.free[n:n:cap(s.free)]
	}
	slabs.Put(s)
	return frame[:n:n], nil
}
