package server

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	watchEvery = time.Millisecond // how often the watchdog looks
	watchIdle  = 100              // so many looks without a turn end it until there is one
	stuckAgain = 6                // within so many looks a second stuck handler shows that a method is slow

	maxStuck = 1024 // methods that are remembered for that; names come from peers

	slowCall  = 200 * time.Microsecond // a call on a worker that takes longer is slow
	fastCalls = 256                    // so many in a row that are not make a method fast again
)

// watchdog finds handlers that hold up a turn. It looks at turns from outside, so
// that a fast call pays for neither a timer nor a look at the clock.
type watchdog struct {
	mu      sync.Mutex
	turns   []*turn
	stuck   map[string]*stuckMethod // methods whose handlers have held up a turn
	looks   int                     // so far
	running bool
	closing bool // nobody waits for another turn any more
	ended   sync.WaitGroup

	slow   atomic.Pointer[map[string]*slowMethod] // nil while there is none
	marked sync.Mutex                             // of writers of slow
}

// stuckMethod is a method with a handler that was found holding up a turn. Once is
// no proof: the collector, or another process, may have had the processor.
type stuckMethod struct {
	running int // handlers that were passed over and have not returned
	look    int // at which one was passed over last
}

// slowMethod is a method that has held up turns, and runs on workers.
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

// returned is called when a handler comes back whose turn was passed on. It waits
// until that has been done.
func (w *watchdog) returned(method string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck[method].running--
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
		} else if idle++; idle > watchIdle || w.closing {
			w.running = false
			w.mu.Unlock()
			return
		}
		w.looks++
		for i := len(w.turns) - 1; i >= 0; i-- {
			w.look(w.turns[i])
		}
		w.mu.Unlock()
	}
}

// close lets the watch end with the last turn.
func (w *watchdog) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closing = true
}

// look passes a turn on when the same handler runs as at the last look. It is
// called with the lock held, which the turn's owner takes before it goes on.
func (w *watchdog) look(t *turn) {
	begun := t.begun.Load()
	stuck := begun == t.seen && t.state.Load() == turnHandles
	t.seen = begun
	t.looked.Store(true)
	if !stuck {
		return
	}
	if !t.state.CompareAndSwap(turnHandles, turnPassed) {
		return // the handler has come back in time
	}
	w.passed(t.req.Method)
	w.remove(t)
	if t.conn.modern() { // its CANCEL may come now
		t.conn.cancellable.enter(t.req.ID(), t.ctx)
	}
	t.handOver()
}

// passed notes that a handler of a method was passed over. It makes the method run
// on workers when that is the second in a short time, or while another has not
// come back; not when they were found together, which a stall of the whole process
// does too.
func (w *watchdog) passed(method string) {
	m := w.stuck[method]
	if m == nil {
		if w.stuck == nil {
			w.stuck = make(map[string]*stuckMethod)
		}
		if len(w.stuck) >= maxStuck {
			maps.DeleteFunc(w.stuck, func(_ string, m *stuckMethod) bool { return m.running == 0 })
		}
		method = strings.Clone(method) // it lies in a received frame
		m = &stuckMethod{look: w.looks - stuckAgain}
		w.stuck[method] = m
	}
	if since := w.looks - m.look; since > 0 && (m.running > 0 || since < stuckAgain) {
		w.mark(method)
	}
	m.running++
	m.look = w.looks
}

// mark makes a method run on workers.
func (w *watchdog) mark(method string) {
	method = strings.Clone(method)
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
