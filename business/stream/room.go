package stream

import (
	"slices"
	"sync"
)

// Room bounds what all streams of one connection have waiting to be written. Who comes
// first is served first. Safe for concurrent use.
type Room struct {
	limit int64

	mu      sync.Mutex
	used    int64
	waiting []*place
}

// place is somebody who waits for room.
type place struct {
	size  int64
	ready chan struct{} // closed when it has it
}

// NewRoom makes a Room of so many bytes. One message that is larger is still let in,
// alone.
func NewRoom(limit int64) *Room { return &Room{limit: limit} }

// Enter waits for room, until over is closed: then it returns false.
func (r *Room) Enter(size int64, over <-chan struct{}) bool {
	r.mu.Lock()
	if len(r.waiting) == 0 && r.fits(size) {
		r.used += size
		r.mu.Unlock()
		return true
	}
	p := &place{size, make(chan struct{})}
	r.waiting = append(r.waiting, p)
	r.mu.Unlock()
	select {
	case <-p.ready:
		return true
	case <-over:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiting, p); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	} else { // it was let in meanwhile
		r.used -= size
	}
	r.admit()
	return false
}

// Leave gives room back.
func (r *Room) Leave(size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= size
	r.admit()
}

func (r *Room) fits(size int64) bool { return r.used == 0 || r.used+size <= r.limit }

// admit lets in who has room now. It is called with the lock held.
func (r *Room) admit() {
	for len(r.waiting) > 0 && r.fits(r.waiting[0].size) {
		p := r.waiting[0]
		r.waiting = slices.Delete(r.waiting, 0, 1)
		r.used += p.size
		close(p.ready)
	}
}
