package main

import (
	"io"
	"sync"
)

// maxTyped is how much may be typed ahead of a command that runs; more is dropped.
const maxTyped = 4 << 20

// keys is what was typed and not read yet. Writing never waits: an interrupt must be
// seen behind what was typed while a command runs.
type keys struct {
	mu    sync.Mutex
	come  *sync.Cond
	typed []byte
	ended bool
}

func newKeys() *keys {
	k := &keys{}
	k.come = sync.NewCond(&k.mu)
	return k
}

// write takes in what was typed.
func (k *keys) write(b ...byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.typed)+len(b) <= maxTyped {
		k.typed = append(k.typed, b...)
	}
	k.come.Signal()
}

// drop forgets what was typed and not read.
func (k *keys) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.typed = k.typed[:0]
}

// end lets Read return io.EOF once all is read.
func (k *keys) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	k.come.Broadcast()
}

// Read waits until something was typed.
func (k *keys) Read(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.typed) == 0 {
		if k.ended {
			return 0, io.EOF
		}
		k.come.Wait()
	}
	n := copy(b, k.typed)
	k.typed = append(k.typed[:0], k.typed[n:]...)
	return n, nil
}
