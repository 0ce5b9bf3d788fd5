package client

import "sync"

// serial runs functions one at a time and in order, on a goroutine that is there
// while there is something to run. Safe for concurrent use.
type serial struct {
	mu      sync.Mutex
	waiting []func()
	running bool
	closed  bool
	idle    sync.Cond
}

func newSerial() *serial {
	s := &serial{}
	s.idle.L = &s.mu
	return s
}

// run queues fn. After close it does nothing, and returns false.
func (s *serial) run(fn func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.waiting = append(s.waiting, fn)
	if !s.running {
		s.running = true
		go s.work()
	}
	return true
}

func (s *serial) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) > 0 {
		fn := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		fn()
		s.mu.Lock()
	}
	s.running, s.waiting = false, nil
	s.idle.Broadcast()
}

// close lets what is queued run, and takes nothing more.
func (s *serial) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.running {
		s.idle.Wait()
	}
}
