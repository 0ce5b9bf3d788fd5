// Package workers runs functions on goroutines that are kept for the next one:
// handlers of a server, callbacks of a client. A goroutine that has grown its
// stack once is cheaper than a new one for each call.
package workers

import (
	"runtime"
	"sync"
	"time"
)

// Pool runs functions on at most Max goroutines, with at most Queue functions
// waiting for one. Safe for concurrent use.
type Pool struct {
	max, queueMax int
	idleFor       time.Duration

	mu      sync.Mutex
	waiting []func() // a ring: head is the oldest
	head    int
	queued  int
	idle    []*worker // the last one to go idle is the first to be used: warm, and the others may end
	spare   int       // the fewest that have been idle since the last trim
	trimmer *time.Timer
	running int
	closed  bool
	done    sync.Cond
}

// worker is one parked goroutine. Its channel holds one function at most.
type worker struct{ next chan func() }

// Config bounds a Pool. The zero value takes the defaults.
type Config struct {
	Max     int           // goroutines; default 1024
	Queue   int           // functions waiting for a goroutine; default 65,536
	IdleFor time.Duration // a goroutine without work ends after one or two of these; default 10 s
}

// New makes a Pool. Close it to end its goroutines.
func New(cfg Config) *Pool {
	p := &Pool{max: cfg.Max, queueMax: cfg.Queue, idleFor: cfg.IdleFor}
	if p.max <= 0 {
		p.max = 1024
	}
	if p.queueMax <= 0 {
		p.queueMax = 65536
	}
	if p.idleFor <= 0 {
		p.idleFor = 10 * time.Second
	}
	p.done.L = &p.mu
	return p
}

// Go runs fn on a goroutine of the pool, as soon as one is free. It never
// blocks; false says that the queue is full or the pool closed, and that fn will
// not run. fn must not panic.
func (p *Pool) Go(fn func()) bool {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return false
	}
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.spare = min(p.spare, n-1)
		p.mu.Unlock()
		w.next <- fn // has room: an idle worker's channel is empty
		return true
	}
	if p.running < p.max {
		p.running++
		p.mu.Unlock()
		go p.run(fn)
		return true
	}
	ok := p.enqueue(fn)
	p.mu.Unlock()
	return ok
}

// enqueue is called with the lock held.
func (p *Pool) enqueue(fn func()) bool {
	if p.queued == p.queueMax {
		return false
	}
	if p.queued == len(p.waiting) {
		grown := make([]func(), max(16, min(2*len(p.waiting), p.queueMax)))
		for i := range p.queued {
			grown[i] = p.waiting[(p.head+i)%len(p.waiting)]
		}
		p.waiting, p.head = grown, 0
	}
	p.waiting[(p.head+p.queued)%len(p.waiting)] = fn
	p.queued++
	return true
}

// dequeue is called with the lock held.
func (p *Pool) dequeue() func() {
	if p.queued == 0 {
		return nil
	}
	fn := p.waiting[p.head]
	p.waiting[p.head] = nil
	p.head = (p.head + 1) % len(p.waiting)
	if p.queued--; p.queued == 0 {
		p.waiting, p.head = nil, 0 // a burst's memory does not stay
	}
	return fn
}

// run is one goroutine's life: functions until there is none for a while.
func (p *Pool) run(fn func()) {
	w := &worker{next: make(chan func(), 1)}
	for fn != nil {
		fn()
		fn = p.following(w)
	}
	p.mu.Lock()
	p.running--
	p.done.Broadcast()
	p.mu.Unlock()
}

// following returns the worker's next function, or nil when it shall end.
func (p *Pool) following(w *worker) func() {
	p.mu.Lock()
	if fn := p.dequeue(); fn != nil {
		p.mu.Unlock()
		return fn
	}
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.idle = append(p.idle, w)
	if p.trimmer == nil {
		p.spare = 0
		p.trimmer = time.AfterFunc(p.idleFor, p.trim)
	}
	p.mu.Unlock()
	return park(w.next)
}

// park waits with a frame of a kilobyte on its stack. The garbage collector halves
// stacks that are used by less than a quarter; the JSON encoder needs 8 KiB of
// stack, and growing it again for the next function cost 13 % of a server's time.
//
//go:noinline
func park(next chan func()) func() {
	var room [1 << 10]byte
	fn := <-next
	runtime.KeepAlive(&room)
	return fn
}

// trim ends the goroutines that nobody has needed since the last time. One timer
// for all costs nothing when a goroutine parks.
func (p *Pool) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trimmer = nil
	if p.closed {
		return
	}
	for _, w := range p.idle[:p.spare] {
		w.next <- nil
	}
	p.idle = append([]*worker(nil), p.idle[p.spare:]...)
	if p.spare = len(p.idle); p.spare > 0 {
		p.trimmer = time.AfterFunc(p.idleFor, p.trim)
	}
}

// Busy returns how many functions run or wait.
func (p *Pool) Busy() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running - len(p.idle) + p.queued
}

// Close lets what runs and what waits finish, and returns when every goroutine
// has ended. Go fails from its call on.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.trimmer != nil {
		p.trimmer.Stop()
	}
	for _, w := range p.idle {
		w.next <- nil
	}
	p.idle = nil
	for p.running > 0 {
		p.done.Wait()
	}
}
