package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	memoryEvery = 15 * time.Second
	memorySlack = 8 << 20 // bytes that are not worth a collection
)

// returnMemory gives memory back to the system when a burst is over, until stop is
// called. Go collects as the program allocates, so after a burst that leaves
// nothing to do its garbage would stay for minutes.
func returnMemory(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(memoryEvery)
		defer ticker.Stop()
		var settled heap
		last := readHeap()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			now := readHeap()
			if now.idleWithGarbage(last, settled) {
				debug.FreeOSMemory()
				now = readHeap()
				settled = now
			}
			last = now
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// heap is what decides about giving back.
type heap struct {
	held   uint64 // bytes that the system has given us
	cycles uint64 // collections so far
}

// idleWithGarbage says that collections have run since we gave back, which left us
// at settled, but none since last, and that a good deal more is held than then.
func (h heap) idleWithGarbage(last, settled heap) bool {
	return h.cycles == last.cycles && h.cycles != settled.cycles && h.held > settled.held+settled.held/4+memorySlack
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(s)
	return heap{held: s[0].Value.Uint64() - s[1].Value.Uint64(), cycles: s[2].Value.Uint64()}
}
