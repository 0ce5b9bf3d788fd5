package stream

import (
	"sync"
	"sync/atomic"
)

// Room bounds what all streams of one connection have waiting to be written. Who comes
// first is served first: who has waited gets room for some messages, and is not woken for
// each. Safe for concurrent use.
type Room struct {
	limit   int64
	portion int64

	mu          sync.Mutex
	used        int64  // of what is to be written, and lent
	first, last *place // who waits

	crowded atomic.Bool // somebody does
}

// portion is the room that somebody gets who has waited, beside one message that is
// larger.
const portion = 4 << 10

// Share is what one stream has of a Room.
type Share struct {
	entered int   // messages that have not left; behind the Room's lock
	lent    int64 // room for more, while there are such; the same
	spare   atomic.Pointer[place]
}

// place is somebody who waits for room.
type place struct {
	share      *Share
	size       int64         // of the message
	ready      chan struct{} // gets an element when it has room
	prev, next *place
	waits      bool
}

// NewRoom makes a Room of so many bytes. One message that is larger is still let in,
// alone.
func NewRoom(limit int64) *Room { return &Room{limit: limit, portion: min(portion, limit/16)} }

// Enter waits for room for a message, until over is closed: then it returns false.
func (r *Room) Enter(s *Share, size int64, over <-chan struct{}) bool {
	r.mu.Lock()
	switch {
	case s.lent >= size:
		s.lent -= size
	case r.first == nil && r.fits(size):
		r.used += size
	default:
		p := r.queue(s, size)
		r.mu.Unlock()
		return r.wait(p, over)
	}
	s.entered++
	r.mu.Unlock()
	return true
}

func (r *Room) wait(p *place, over <-chan struct{}) bool {
	defer p.share.spare.Store(p)
	select {
	case <-p.ready:
		return true
	case <-over:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.waits {
		r.remove(p)
		r.admit()
	} else { // it was let in meanwhile
		<-p.ready
		r.leave(p.share, p.size)
	}
	return false
}

// Leave gives the room of a message back.
func (r *Room) Leave(s *Share, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leave(s, size)
}

// leave is Leave with the lock held. With the last message of a stream goes what was lent
// to it: who has not sent by then does not send much.
func (r *Room) leave(s *Share, size int64) {
	r.used -= size
	if s.entered--; s.entered == 0 {
		r.used -= s.lent
		s.lent = 0
	}
	r.admit()
}

func (r *Room) fits(size int64) bool { return r.used == 0 || r.used+size <= r.limit }

// admit lets in who has room now. It is called with the lock held.
func (r *Room) admit() {
	for p := r.first; p != nil; p = r.first {
		size := max(p.size, r.portion)
		if !r.fits(size) {
			return
		}
		r.remove(p)
		r.used += size
		p.share.lent += size - p.size
		p.share.entered++
		p.ready <- struct{}{}
	}
}

// queue adds a place at the end. It is called with the lock held.
func (r *Room) queue(s *Share, size int64) *place {
	p := s.spare.Swap(nil)
	if p == nil {
		p = &place{share: s, ready: make(chan struct{}, 1)}
	}
	p.size, p.waits, p.prev = size, true, r.last
	if r.last == nil {
		r.first = p
		r.crowded.Store(true)
	} else {
		r.last.next = p
	}
	r.last = p
	return p
}

// remove takes out a place that waits. It is called with the lock held.
func (r *Room) remove(p *place) {
	if p.prev == nil {
		r.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		r.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next, p.waits = nil, nil, false
	if r.first == nil {
		r.crowded.Store(false)
	}
}
