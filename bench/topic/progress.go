package topic

import (
	"sync/atomic"
)

// slot is how far one subscriber is. It fills a cache line of its own, since each
// has another writer.
type slot struct {
	received atomic.Uint64 // messages that arrived
	lost     atomic.Uint64 // messages that the broker said it had dropped
	_        [48]byte
}

// seen is how many messages of its topic a subscriber is done with.
func (s *slot) seen() uint64 { return s.received.Load() + s.lost.Load() }

// progress is memory that the publishing and the subscribing process share, so
// that publishers learn how far subscribers are without a message: it is what
// keeps a saturated bus from being flooded without end.
type progress struct {
	slots []slot
	free  func()
}

func (p *progress) received() (n uint64) {
	for i := range p.slots {
		n += p.slots[i].received.Load()
	}
	return n
}

func (p *progress) lost() (n uint64) {
	for i := range p.slots {
		n += p.slots[i].lost.Load()
	}
	return n
}
