//go:build unix

package main

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pulse knows for how long this process was held up, because the machine has too much
// to do: a time that nothing can be blamed for.
type pulse struct{ held atomic.Int64 }

// beatOfPulse is how often it beats.
const beatOfPulse = 5 * time.Millisecond

func newPulse(t *testing.T) *pulse {
	t.Helper()
	p := new(pulse)
	quit := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		beat := time.NewTicker(beatOfPulse)
		defer beat.Stop()
		for last := time.Now(); ; {
			select {
			case <-quit:
				return
			case <-beat.C:
			}
			now := time.Now()
			if gap := now.Sub(last); gap > 2*beatOfPulse {
				p.held.Add(int64(gap - beatOfPulse))
			}
			last = now
		}
	})
	t.Cleanup(func() { close(quit); ended.Wait() })
	return p
}

// heldUp is for how long, since it began.
func (p *pulse) heldUp() time.Duration { return time.Duration(p.held.Load()) }
