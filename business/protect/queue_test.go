package protect_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/business/protect"
)

// request is one that waits for a handler.
type request struct{ came, deadline time.Time }

// line is where requests wait.
type line interface {
	Push(r request, deadline, now time.Time)
	Pop(now time.Time) (request, bool)
	Len() int
}

// fifo is a queue that sheds nothing that it has taken: first come, first served.
type fifo struct {
	list []request
	most int
	shed func(request, protect.Reason)
}

func (f *fifo) Push(r request, _, _ time.Time) {
	if len(f.list) == f.most {
		f.shed(r, protect.Crowded)
		return
	}
	f.list = append(f.list, r)
}

func (f *fifo) Pop(time.Time) (r request, ok bool) {
	if len(f.list) == 0 {
		return r, false
	}
	r, f.list = f.list[0], f.list[1:]
	return r, true
}

func (f *fifo) Len() int { return len(f.list) }

// busy is a server whose handlers wait for 5 ms, 32 at once: it can do 6,400 a second.
type busy struct {
	*world
	q      line
	free   int
	answer func(r request)
}

const capacity = 32 / 0.005

func (s *busy) take(r request) {
	s.q.Push(r, r.deadline, s.now)
	s.next()
}

func (s *busy) next() {
	for s.free > 0 {
		r, ok := s.q.Pop(s.now)
		if !ok {
			return
		}
		s.free--
		s.after(5*time.Millisecond, func() {
			s.free++
			s.answer(r)
			s.next()
		})
	}
}

type maker func(w *world, shed func(request, protect.Reason)) line

// figures are what comes of a load.
type figures struct {
	goodput float64 // answered before the caller gives up, a second
	p99     time.Duration
	shed    float64 // part of the requests
	longest int     // queue
}

// load gives a server so many times what it can do. Callers give up after a
// quarter of a second, which they do not say.
func load(mk maker, times float64) (f figures) {
	const patience, during = 250 * time.Millisecond, 2 * time.Second
	w := newWorld(1)
	var took []time.Duration
	shed, calls, good := 0, 0, 0
	q := mk(w, func(request, protect.Reason) { shed++ })
	s := &busy{world: w, q: q, free: 32}
	s.answer = func(r request) {
		if w.passed() < time.Second { // until it is settled
			return
		}
		d := w.now.Sub(r.came)
		took = append(took, d)
		if d <= patience {
			good++
		}
	}
	w.arrive(times*capacity, during, func() {
		calls++
		s.take(request{came: w.now})
		f.longest = max(f.longest, q.Len())
	})
	w.run(during)
	f.goodput, f.p99, f.shed = float64(good)/(during-time.Second).Seconds(), percentile(took, 0.99), float64(shed)/float64(calls)
	return f
}

func shedding(w *world, shed func(request, protect.Reason)) line {
	return protect.NewQueue(protect.QueueConfig{}, shed, w.now)
}

func TestGoodputStaysUnderOverload(t *testing.T) {
	for _, times := range []float64{0.5, 0.9, 1, 1.2, 3, 10} {
		f := load(shedding, times)
		t.Logf("%.1f times what it can do: goodput %.0f of %.0f a second, p99 %v, %.1f %% shed, at most %d waited",
			times, f.goodput, capacity, f.p99.Round(10*time.Microsecond), 100*f.shed, f.longest)
		peak := min(1, times) * capacity
		assert.GreaterOrEqual(t, f.goodput, 0.9*peak)
		bound := 35 * time.Millisecond // a little too much is a row of bursts
		if times >= 3 {
			bound = 15 * time.Millisecond // 5 ms of waiting, and of work
		}
		assert.LessOrEqual(t, f.p99, bound)
		assert.LessOrEqual(t, f.longest, int(times*capacity*0.11))
		if times <= 0.9 {
			assert.Zero(t, f.shed)
		}
	}
	f := load(func(_ *world, shed func(request, protect.Reason)) line { return &fifo{most: 16_384, shed: shed} }, 3)
	t.Logf("planted: goodput %.0f a second, p99 %v", f.goodput, f.p99)
	assert.Less(t, f.goodput, 0.9*capacity, "planted: first come, first served")
	assert.Greater(t, f.p99, 35*time.Millisecond)
}

func TestABurstIsNoOverload(t *testing.T) {
	w := newWorld(1)
	shed, served := 0, 0
	s := &busy{world: w, q: shedding(w, func(request, protect.Reason) { shed++ }), free: 32, answer: func(request) { served++ }}
	for range 20 {
		w.after(0, func() {
			for range 500 { // takes 80 ms
				s.take(request{came: w.now})
			}
		})
		w.run(time.Second)
	}
	assert.Zero(t, shed)
	assert.Equal(t, 10_000, served)
}

func TestTheOverloadEnds(t *testing.T) {
	w := newWorld(1)
	shed := 0
	q := protect.NewQueue(protect.QueueConfig{}, func(request, protect.Reason) { shed++ }, w.now)
	s := &busy{world: w, q: q, free: 32, answer: func(request) {}}
	w.arrive(5*capacity, time.Second, func() { s.take(request{came: w.now}) })
	w.run(time.Second)
	assert.True(t, q.Overloaded(w.now))
	w.run(50 * time.Millisecond)
	assert.False(t, q.Overloaded(w.now))
	assert.Zero(t, q.Len())
	shed = 0
	w.arrive(0.9*capacity, time.Second, func() { s.take(request{came: w.now}) })
	w.run(time.Second)
	assert.Zero(t, shed)
}

// story is a queue whose doings are written down.
func (w *world) story(cfg protect.QueueConfig) (*protect.Queue[int], *[]string) {
	lines := new([]string)
	return protect.NewQueue(cfg, func(i int, r protect.Reason) { *lines = append(*lines, fmt.Sprintf("%d: %v", i, r)) }, w.now), lines
}

func TestTheOldestComesFirstUntilThereIsOverload(t *testing.T) {
	w := newWorld(1)
	q, lines := w.story(protect.QueueConfig{})
	for i := range 6 {
		q.Push(i, time.Time{}, w.now)
	}
	pop := func(want int) {
		t.Helper()
		i, ok := q.Pop(w.now)
		assert.True(t, ok)
		assert.Equal(t, want, i)
	}
	pop(0)
	pop(1)
	w.now = w.now.Add(99 * time.Millisecond)
	q.Push(6, time.Time{}, w.now)
	pop(2)
	assert.Empty(t, *lines)
	w.now = w.now.Add(2 * time.Millisecond) // never empty for more than 100 ms
	q.Push(7, time.Time{}, w.now)
	assert.Equal(t, []string{"3: waited too long", "4: waited too long", "5: waited too long"}, *lines)
	pop(7)
	pop(6)
	_, ok := q.Pop(w.now)
	assert.False(t, ok)
}

func TestRequestsPastTheirDeadlineAreShed(t *testing.T) {
	w := newWorld(1)
	q, lines := w.story(protect.QueueConfig{})
	q.Push(1, w.now.Add(time.Millisecond), w.now)
	q.Push(2, w.now.Add(time.Hour), w.now)
	w.now = w.now.Add(2 * time.Millisecond)
	i, ok := q.Pop(w.now)
	assert.True(t, ok)
	assert.Equal(t, 2, i)
	assert.Equal(t, []string{"1: past its deadline"}, *lines)
}

func TestAFullQueueShedsItsOldest(t *testing.T) {
	w := newWorld(1)
	q, lines := w.story(protect.QueueConfig{Most: 100})
	for i := range 250 {
		q.Push(i, time.Time{}, w.now)
		assert.LessOrEqual(t, q.Len(), 100)
	}
	assert.Len(t, *lines, 150)
	assert.Equal(t, "0: the queue is full", (*lines)[0])
	for want := 150; want < 250; want++ {
		i, ok := q.Pop(w.now)
		assert.True(t, ok)
		assert.Equal(t, want, i)
	}
}

// TestNothingIsLost: whatever happens, a request is handled or shed, once.
func TestNothingIsLost(t *testing.T) {
	w := newWorld(4)
	seen := make(map[int]int)
	q := protect.NewQueue(protect.QueueConfig{Most: 300}, func(i int, _ protect.Reason) { seen[i]++ }, w.now)
	pushed := 0
	for range 50_000 {
		w.now = w.now.Add(time.Duration(w.rng.Int64N(400_000)))
		for range w.rng.IntN(4) {
			deadline := time.Time{}
			if w.rng.IntN(2) == 0 {
				deadline = w.now.Add(time.Duration(w.rng.Int64N(5e6)))
			}
			q.Push(pushed, deadline, w.now)
			pushed++
		}
		for range w.rng.IntN(3) {
			if i, ok := q.Pop(w.now); ok {
				seen[i]++
			}
		}
	}
	for i, ok := q.Pop(w.now); ok; i, ok = q.Pop(w.now) {
		seen[i]++
	}
	assert.Len(t, seen, pushed)
	for i, n := range seen {
		if n != 1 {
			assert.Equal(t, 1, n, i)
		}
	}
}
