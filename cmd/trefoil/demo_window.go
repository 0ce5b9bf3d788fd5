package main

import (
	"context"
	"sync"
)

const (
	demoInFlight = 64       // calls
	demoBytes    = 16 << 20 // of text in them: memory stays bounded, and so do the queues of a connection
)

// window bounds what is in flight. One goroutine enters, any may leave.
type window struct {
	mu          sync.Mutex
	calls, most int
	bytes       int
	left        chan struct{} // holds an element when somebody left
}

func newWindow() *window { return &window{left: make(chan struct{}, 1)} }

// enter waits until there is room for a call with so many bytes.
func (w *window) enter(ctx context.Context, bytes int) error {
	for !w.tryEnter(bytes) {
		select {
		case <-w.left:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (w *window) tryEnter(bytes int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calls >= demoInFlight || w.calls > 0 && w.bytes+bytes > demoBytes {
		return false
	}
	w.calls++
	w.bytes += bytes
	w.most = max(w.most, w.calls)
	return true
}

func (w *window) leave(bytes int) {
	w.mu.Lock()
	w.calls--
	w.bytes -= bytes
	w.mu.Unlock()
	select {
	case w.left <- struct{}{}:
	default:
	}
}

// peak is the most calls that were ever in flight.
func (w *window) peak() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most
}
