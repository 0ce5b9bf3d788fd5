package client

import "sync"

// tasks are goroutines that close waits for. Whoever runs one sees to it that it
// ends soon after the Conn's context. Safe for concurrent use.
type tasks struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// run runs fn on a goroutine of its own. After close it does nothing, and returns
// false.
func (t *tasks) run(fn func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.running.Go(fn)
	return true
}

func (t *tasks) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.running.Wait()
}
