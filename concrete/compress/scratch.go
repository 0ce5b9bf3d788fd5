package compress

import (
	"runtime"
	"sync"
)

// Bodies are made in scratch memory, and copied out when they are done: what waits
// to be sent takes no more than its bytes then. For those that are decoded, a
// few bytes that announce many cost nothing then, nor do those that really become
// many and are refused at the limit. Small scratches are pooled as they come; of
// the large ones as many are in use as there are processors, and who finds none
// waits for its turn, which is for a processor just as well.

const smallScratch = 256 << 10

var (
	smalls = sync.Pool{New: func() any { return new([smallScratch]byte) }}
	larges = sync.Pool{New: func() any { return new(large) }}
	turns  = make(chan struct{}, runtime.GOMAXPROCS(0))
)

// large is scratch memory that has grown to the largest limit it was used for.
type large struct{ buf []byte }

// withScratch calls f with empty scratch memory of a capacity, which f must not
// keep.
func withScratch(capacity int, f func(scratch []byte)) {
	if capacity <= smallScratch {
		s := smalls.Get().(*[smallScratch]byte)
		defer smalls.Put(s)
		f(s[:0:capacity])
		return
	}
	turns <- struct{}{}
	defer func() { <-turns }()
	l := larges.Get().(*large)
	defer larges.Put(l)
	if cap(l.buf) < capacity {
		l.buf = make([]byte, 0, capacity)
	}
	f(l.buf[:0:capacity])
}

// own returns a copy of head and body, that has just their size.
func own(head, body []byte) []byte {
	out := make([]byte, len(head)+len(body))
	copy(out[copy(out, head):], body)
	return out
}
