package main

import (
	"bufio"
	"io"
	"sync"
	"time"
)

// lazyFlush is how long output waits at most for more to be written with it.
const lazyFlush = 5 * time.Millisecond

// lazyWriter writes much that comes at once together, and what comes alone soon. The error
// of a write that came later is that of the next. Safe for concurrent use.
type lazyWriter struct {
	mu      sync.Mutex
	w       *bufio.Writer
	pending bool // a flush is due
}

func newLazyWriter(w io.Writer) *lazyWriter { return &lazyWriter{w: bufio.NewWriterSize(w, 64<<10)} }

// Write takes p, to be written soon.
func (l *lazyWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.w.Write(p)
	if !l.pending && l.w.Buffered() > 0 {
		l.pending = true
		time.AfterFunc(lazyFlush, func() { _ = l.flush() }) // whose error stays
	}
	return n, err
}

// flush writes what waits.
func (l *lazyWriter) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = false
	return l.w.Flush()
}
