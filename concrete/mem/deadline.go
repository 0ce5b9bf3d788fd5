package mem

import (
	"sync"
	"time"
)

// deadline is a moment after which reads, or writes, fail.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{} // closed when it has passed; another one when a later one is set then
}

// set changes the moment, also for who waits already; a zero one is never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.over // it is about to be closed
	}
	d.timer = nil
	left := time.Until(t)
	if passed := isClosed(d.over); passed && (t.IsZero() || left > 0) {
		d.over = make(chan struct{})
	} else if !passed && !t.IsZero() && left <= 0 {
		close(d.over)
	}
	if over := d.over; !t.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, func() { close(over) })
	}
}

// passed is closed when the moment has passed that holds now, or one that is set before that.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
