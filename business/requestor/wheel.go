package requestor

import (
	"math"
	"time"
)

// grain is how late a call may end, and buckets how many grains the wheel has: a
// turn takes a little longer than the default deadline of a call.
const (
	grain   = 10 * time.Millisecond
	buckets = 512 // a power of two
)

// wheel sorts calls by deadline into buckets of one grain each, so that storing
// and ending a call cost the same however many there are. A deadline further away
// than one turn shares its bucket with a nearer one and is passed over until it is due.
type wheel struct {
	heads []uint32  // first slot of each bucket; nil until there is a call
	epoch time.Time // where tick 0 begins; zero until somebody has named a time
	swept int64     // the calls of all ticks before this one have ended
}

// begin lets time begin, for a wheel without calls.
func (w *wheel) begin(epoch time.Time) { w.epoch, w.swept = epoch, math.MinInt64 }

// tick counts up to 292 years from the epoch in either direction, and stays there.
func (w *wheel) tick(at time.Time) int64 {
	d := at.Sub(w.epoch)
	t := int64(d / grain)
	if d < 0 && d%grain != 0 {
		t-- // rounded down, not towards 0
	}
	return t
}

func (w *wheel) bucket(tick int64) *uint32 { return &w.heads[tick&(buckets-1)] }

// sane returns a time from which deadlines and the present can be counted, for a
// wheel that knows nothing but the first call's deadline: that may be no time at
// all, or the end of all days.
func sane(deadline time.Time) time.Time {
	if year := deadline.Year(); year < 1970 || year > 2200 {
		return time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return deadline
}

// file puts a stored call into the bucket of its deadline.
func (t *table) file(p *Pending, deadline time.Time) {
	w := &t.wheel
	if w.heads == nil {
		w.heads = make([]uint32, buckets)
	}
	if w.epoch.IsZero() {
		w.begin(sane(deadline))
	}
	p.tick = max(w.tick(deadline), w.swept)
	head := w.bucket(p.tick)
	t.slots[p.slot].next = *head
	if *head != 0 {
		t.slots[*head].prev = p.slot
	}
	*head = p.slot
}

// unfile takes a call out of its bucket.
func (t *table) unfile(p *Pending) {
	s := t.slots[p.slot]
	if s.prev != 0 {
		t.slots[s.prev].next = s.next
	} else {
		*t.wheel.bucket(p.tick) = s.next
	}
	if s.next != 0 {
		t.slots[s.next].prev = s.prev
	}
}

// expire takes out the calls of all ticks that are over, and says when the next
// one that may have calls is.
func (t *table) expire(now time.Time) (late []*Pending, next time.Time) {
	w := &t.wheel
	if t.live == 0 {
		w.begin(now) // a better epoch than any deadline: it is near, and has a monotonic clock
		return nil, next
	}
	due := w.tick(now) // this tick is not over yet
	for tick := max(w.swept, due-buckets); tick < due; tick++ {
		late = t.expireBucket(*w.bucket(tick), due, late)
	}
	w.swept = max(w.swept, due)
	next = t.next()
	t.trim()
	return late, next
}

func (t *table) expireBucket(head uint32, due int64, late []*Pending) []*Pending {
	for i := head; i != 0; {
		p := t.slots[i].p
		i = t.slots[i].next
		if p.tick < due {
			t.take(p)
			late = append(late, p)
		}
	}
	return late
}

// next is the end of the first tick to come whose bucket is not empty.
func (t *table) next() time.Time {
	w := &t.wheel
	for tick := w.swept; tick < w.swept+buckets; tick++ {
		if *w.bucket(tick) != 0 {
			return w.epoch.Add(time.Duration(tick+1) * grain)
		}
	}
	return time.Time{}
}
