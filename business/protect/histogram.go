package protect

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// histogram estimates one percentile of latencies, to a sixteenth, of about the
// last thousands of them: counts in classes of which sixteen double the latency,
// all halved from time to time. Writers do not wait.
type histogram struct {
	part   float64 // the percentile, from 0 to 1
	counts [classes]atomic.Uint32
	seen   atomic.Uint64
	value  atomic.Int64 // the percentile as it was worked out last, ns

	mu sync.Mutex // for working it out
}

const (
	perDoubling = 16
	classes     = 40 * perDoubling // up to some hours
	every       = 64               // so often the percentile is worked out
	halving     = 8192             // so often the counts are halved
)

func class(ns int64) int {
	v := uint64(max(ns, perDoubling))
	shift := bits.Len64(v) - 5 // leaves the 1 and four bits
	return min(classes-1, shift*perDoubling+int(v>>shift)-perDoubling)
}

// top is where a class ends, in ns.
func top(class int) int64 {
	shift, low := class/perDoubling, class%perDoubling
	return int64(perDoubling+low+1) << shift
}

func (h *histogram) observe(took time.Duration) {
	h.counts[class(int64(took))].Add(1)
	if n := h.seen.Add(1); n%every == 0 && h.mu.TryLock() {
		h.work(n%halving == 0)
		h.mu.Unlock()
	}
}

// work finds the percentile. It is called with the lock held.
func (h *histogram) work(halve bool) {
	total := uint64(0)
	for i := range h.counts {
		total += uint64(h.counts[i].Load())
	}
	rest := uint64(float64(total) * (1 - h.part))
	found := false
	for i := classes - 1; i >= 0; i-- {
		n := h.counts[i].Load()
		if !found && uint64(n) > rest {
			h.value.Store(top(i))
			found = true
		}
		rest -= min(rest, uint64(n))
		if halve {
			h.counts[i].Add(-(n / 2)) // what is added meanwhile stays
		}
	}
}
