package server

import "sync"

// catchUps are the catch-ups of one connection. A few run at a time: a peer that begins
// thousands of them and reads none has the others wait without a goroutine.
type catchUps struct {
	mu      sync.Mutex
	running int
	waiting []func()
}

// maxCatchUps is how many catch-ups of a connection run at a time.
const maxCatchUps = 8

// do does a catch-up, as soon as there is room for one.
func (c *catchUps) do(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == maxCatchUps {
		c.waiting = append(c.waiting, fn)
		return
	}
	c.running++
	go c.work(fn)
}

// work does catch-ups until none waits.
func (c *catchUps) work(fn func()) {
	for fn != nil {
		fn()
		fn = c.next()
	}
}

// next returns what waits longest, or nil, and then one less is running.
func (c *catchUps) next() func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.running--
		c.waiting = nil
		return nil
	}
	fn := c.waiting[0]
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	return fn
}
