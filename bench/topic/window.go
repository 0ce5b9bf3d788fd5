package topic

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// window keeps the publishers of one topic no further ahead of its slowest
// subscriber than size messages, the same for every bus.
type window struct {
	size  uint64
	slots []slot

	sent  atomic.Uint64
	limit atomic.Uint64

	mu      sync.Mutex
	moved   sync.Cond
	ended   bool
	slowest uint64
	since   time.Time // when slowest moved last
	stalls  uint64
}

// patient is how long a subscriber may stand still before its messages are taken
// for lost. A good run has no such stall.
const patient = 2 * time.Second

func newWindow(size int, slots []slot) *window {
	w := &window{size: uint64(size), slots: slots, since: time.Now()}
	w.moved.L = &w.mu
	w.limit.Store(w.size)
	return w
}

// take takes leave to publish one message, and calls before only when it has to
// wait for it. It returns the message's number; not ok when the run has ended.
func (w *window) take(before func()) (n uint64, ok bool) {
	n = w.sent.Add(1)
	if n <= w.limit.Load() {
		return n, true
	}
	before()
	w.mu.Lock()
	defer w.mu.Unlock()
	for n > w.limit.Load() && !w.ended {
		w.moved.Wait()
	}
	return n, !w.ended
}

// look moves the window as far as the subscribers have come.
func (w *window) look() {
	slowest := w.slowestSeen()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case slowest > w.slowest:
		w.slowest, w.since = slowest, time.Now()
	case w.sent.Load() <= w.limit.Load() || time.Since(w.since) < patient:
		return
	default:
		w.stalls++
		w.since = time.Now()
		w.limit.Add(w.size)
		w.moved.Broadcast()
		return
	}
	if limit := slowest + w.size; limit > w.limit.Load() {
		w.limit.Store(limit)
		w.moved.Broadcast()
	}
}

// begin opens the window for a new run, which goes on from where the subscribers are.
func (w *window) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended, w.since = false, time.Now()
	slowest := w.slowestSeen()
	w.slowest = slowest
	w.sent.Store(slowest)
	w.limit.Store(slowest + w.size)
}

// slowestSeen is how many messages the subscriber furthest behind is done with.
func (w *window) slowestSeen() uint64 {
	slowest := w.slots[0].seen()
	for i := range w.slots[1:] {
		slowest = min(slowest, w.slots[i+1].seen())
	}
	return slowest
}

func (w *window) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.moved.Broadcast()
}

// follow looks at all windows again and again until ctx ends.
func follow(ctx context.Context, windows []*window, subscribers int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Looking at many takes longer, and they are slower.
	every := max(200*time.Microsecond, time.Duration(subscribers)*time.Microsecond)
	for ctx.Err() == nil {
		for _, w := range windows {
			w.look()
		}
		pause(every)
	}
	for _, w := range windows {
		w.end()
	}
}

// windowSize is how many messages may be under way to each of a topic's
// subscribers: enough to keep everybody busy, and less than what makes any bus
// drop messages.
func windowSize(size, subscribers int) int {
	const (
		messages   = 2048
		bytes      = 256 << 10 // of one subscriber
		deliveries = 1 << 17   // of all
	)
	return max(16, min(messages, bytes/max(size, 1), deliveries/max(subscribers, 1)))
}
