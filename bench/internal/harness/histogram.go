package harness

import (
	"encoding/json"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	subBits = 6 // 64 steps per power of two: values are good to 1.6 %
	buckets = (64 - subBits) << subBits
)

// Histogram counts durations in logarithmic steps of 1.6 %. Recording is safe for
// concurrent use; give busy goroutines one each and Add them up. The zero value
// is ready to use. It is encoded as JSON sparsely, so that processes can hand it on.
type Histogram struct {
	counts [buckets]atomic.Uint64
	max    atomic.Int64
}

// Record counts one duration; negative ones count as 0.
func (h *Histogram) Record(d time.Duration) {
	v := max(int64(d), 0)
	h.counts[bucket(v)].Add(1)
	for {
		top := h.max.Load()
		if v <= top || h.max.CompareAndSwap(top, v) {
			return
		}
	}
}

// Add adds another histogram's counts to this one.
func (h *Histogram) Add(o *Histogram) {
	for i := range o.counts {
		if n := o.counts[i].Load(); n > 0 {
			h.counts[i].Add(n)
		}
	}
	if top := o.max.Load(); top > h.max.Load() {
		h.max.Store(top)
	}
}

// Reset forgets everything, for the end of a warm-up.
func (h *Histogram) Reset() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
	h.max.Store(0)
}

// Count is the number of recorded durations.
func (h *Histogram) Count() uint64 {
	var n uint64
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// Quantile is the duration that the share q (0 to 1) of all recorded ones do not
// exceed, to 1.6 %; 0 when nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := uint64(q * float64(total))
	rank = min(rank, total-1)
	var seen uint64
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen > rank {
			return time.Duration(min(middle(i), h.max.Load()))
		}
	}
	return h.Max()
}

// Max is the longest recorded duration.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Figures puts the latency figures into s; none when nothing was recorded.
func (h *Histogram) Figures(s Sample) {
	if h.Count() == 0 {
		return
	}
	s[FigP50], s[FigP99], s[FigP999] = micros(h.Quantile(0.50)), micros(h.Quantile(0.99)), micros(h.Quantile(0.999))
	s[FigMax] = micros(h.Max())
}

type sparse struct {
	Counts map[int]uint64 `json:"counts"`
	Max    int64          `json:"max"`
}

// MarshalJSON encodes the counts that are not zero.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	s := sparse{Counts: make(map[int]uint64), Max: h.max.Load()}
	for i := range h.counts {
		if n := h.counts[i].Load(); n > 0 {
			s.Counts[i] = n
		}
	}
	return json.Marshal(s)
}

// UnmarshalJSON replaces what h holds.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var s sparse
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	h.Reset()
	h.max.Store(s.Max)
	for i, n := range s.Counts {
		if i >= 0 && i < buckets {
			h.counts[i].Store(n)
		}
	}
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// bucket is the index of a value: its power of two and the next six bits.
func bucket(v int64) int {
	u := uint64(v)
	if u < 1<<subBits {
		return int(u)
	}
	exp := bits.Len64(u) - 1 - subBits
	return exp<<subBits + int(u>>exp)
}

// middle is the value in the middle of a bucket.
func middle(i int) int64 {
	if i < 2<<subBits {
		return int64(i)
	}
	exp := i>>subBits - 1
	low := int64(i-exp<<subBits) << exp
	return low + int64(1)<<exp/2
}
