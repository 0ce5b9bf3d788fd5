package server

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

const (
	watchEvery = time.Millisecond // how often the watchdog looks
	watchIdle  = 100              // so many looks without a turn end it until there is one

	slowCall  = 200 * time.Microsecond // a call on a worker that takes longer is slow
	fastCalls = 256                    // so many in a row that are not make a method fast again
)

// watchdog finds handlers that hold up a turn. It looks at turns from outside, so
// that a fast call pays for neither a timer nor a look at the clock.
type watchdog struct {
	mu      sync.Mutex
	turns   []*turn
	running bool
	ended   sync.WaitGroup

	slow   atomic.Pointer[map[string]*slowMethod] // nil while there is none
	marked sync.Mutex                             // of writers of slow
}

// slowMethod is a method that has held up a turn, and runs on workers.
type slowMethod struct{ fast atomic.Int32 }

// join puts a turn under watch.
func (w *watchdog) join(t *turn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.index, t.seen = len(w.turns), t.begun.Load()
	w.turns = append(w.turns, t)
	if !w.running {
		w.running = true
		w.ended.Go(w.watch)
	}
}

// leave ends the watch of a turn.
func (w *watchdog) leave(t *turn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(t)
}

func (w *watchdog) remove(t *turn) {
	last := len(w.turns) - 1
	moved := w.turns[last]
	w.turns[t.index], moved.index = moved, t.index
	w.turns[last] = nil
	w.turns = w.turns[:last]
}

// settle returns when a turn that is being passed on has been.
func (w *watchdog) settle() {
	w.mu.Lock()
	w.mu.Unlock() //nolint:staticcheck,gocritic // to have had the lock is the point
}

// watch runs while there are turns, and a little longer.
func (w *watchdog) watch() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for idle := 0; ; {
		<-ticker.C
		w.mu.Lock()
		if len(w.turns) > 0 {
			idle = 0
		} else if idle++; idle > watchIdle {
			w.running = false
			w.mu.Unlock()
			return
		}
		for i := len(w.turns) - 1; i >= 0; i-- {
			w.look(w.turns[i])
		}
		w.mu.Unlock()
	}
}

// look passes a turn on when the same handler runs as at the last look. It is
// called with the lock held, which the turn's owner takes before it goes on.
func (w *watchdog) look(t *turn) {
	begun := t.begun.Load()
	stuck := begun == t.seen && t.state.Load() == turnHandles
	t.seen = begun
	if !stuck {
		return
	}
	if !t.state.CompareAndSwap(turnHandles, turnPassed) {
		return // the handler has come back in time
	}
	w.mark(t.method)
	w.remove(t)
	t.handOver()
}

// mark makes a method run on workers.
func (w *watchdog) mark(method string) {
	w.marked.Lock()
	defer w.marked.Unlock()
	next := map[string]*slowMethod{method: new(slowMethod)}
	if old := w.slow.Load(); old != nil {
		maps.Copy(next, *old)
	}
	w.slow.Store(&next)
}

// slowMethod returns what is known of a method that runs on workers; nil for one
// that runs inside turns.
func (w *watchdog) slowMethod(method string) *slowMethod {
	slow := w.slow.Load()
	if slow == nil {
		return nil
	}
	return (*slow)[method]
}

// observe takes the time of a call on a worker, and lets a method that has been
// fast for long run inside turns again.
func (w *watchdog) observe(method string, m *slowMethod, took time.Duration) {
	if took > slowCall {
		m.fast.Store(0)
		return
	}
	if m.fast.Add(1) != fastCalls {
		return
	}
	w.marked.Lock()
	defer w.marked.Unlock()
	old := w.slow.Load()
	if old == nil || (*old)[method] != m {
		return
	}
	next := maps.Clone(*old)
	delete(next, method)
	if len(next) == 0 {
		w.slow.Store(nil)
		return
	}
	w.slow.Store(&next)
}
