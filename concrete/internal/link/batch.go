package link

import "sync"

const (
	stageBytes = 32 << 10 // small frames are copied together, up to this much in one write
	stageFrame = 1 << 10  // above it a frame is written from where it is
)

// batch is what one write takes. It belongs to the owner of the outbox.
type batch struct {
	entries []entry // as taken from the outbox
	size    int     // their bytes
	bufs    [][]byte
	rest    [][]byte // what of bufs is not written yet
	left    int      // its bytes
	stage   []byte
	piece   [][]byte
}

var batches = sync.Pool{New: func() any { return &batch{stage: make([]byte, 0, stageBytes)} }}

func newBatch() *batch { return batches.Get().(*batch) }

func (b *batch) free() {
	b.reset()
	batches.Put(b)
}

// reset forgets what was written, and every reference to it.
func (b *batch) reset() {
	for i := range b.entries {
		if e := &b.entries[i]; e.free != nil {
			e.free(e.bytes)
		}
	}
	clear(b.entries)
	clear(b.bufs)
	clear(b.piece[:cap(b.piece)])
	b.entries, b.bufs, b.piece = b.entries[:0], b.bufs[:0], b.piece[:0]
	b.rest, b.stage = nil, b.stage[:0]
	b.size, b.left = 0, 0
}

// fill turns the entries into bytes to write: this is where the fate of a request
// is decided, and where a lane says what it lost.
func (b *batch) fill() {
	alone := len(b.entries) == 1
	for i := range b.entries {
		e := &b.entries[i]
		if e.gap > 0 && e.lane.notice != nil {
			b.add(e.lane.notice(e.gap).Bytes, false)
		}
		if e.mark == nil || e.mark.Take() {
			b.add(e.bytes, alone)
		}
	}
	b.rest = b.bufs
}

// add appends p to what is written, small frames to the stage, so that the kernel
// gets few pieces.
func (b *batch) add(p []byte, alone bool) {
	if len(p) == 0 {
		return
	}
	b.left += len(p)
	n := len(b.stage)
	if alone || len(p) > stageFrame || n+len(p) > cap(b.stage) {
		b.bufs = append(b.bufs, p)
		return
	}
	b.stage = append(b.stage, p...)
	if last := len(b.bufs) - 1; last >= 0 && n > 0 && endsAt(b.bufs[last], b.stage[:n]) {
		b.bufs[last] = b.stage[n-len(b.bufs[last]) : n+len(p)]
		return
	}
	b.bufs = append(b.bufs, b.stage[n:])
}

// endsAt reports whether p is the end of s, the same memory.
func endsAt(p, s []byte) bool {
	return len(p) > 0 && len(p) <= len(s) && &p[len(p)-1] == &s[len(s)-1]
}

// advance takes n written bytes off.
func (b *batch) advance(n int) {
	b.left -= n
	for n > 0 {
		if n < len(b.rest[0]) {
			b.rest[0] = b.rest[0][n:]
			return
		}
		n -= len(b.rest[0])
		b.rest = b.rest[1:]
	}
}

// cut takes at most n bytes off and returns them.
func (b *batch) cut(n int) [][]byte {
	b.piece = b.piece[:0]
	for n > 0 && len(b.rest) > 0 {
		p := b.rest[0]
		if len(p) > n {
			p = p[:n]
		}
		b.piece = append(b.piece, p)
		b.advance(len(p))
		n -= len(p)
	}
	return b.piece
}
