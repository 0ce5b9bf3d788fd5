package protect_test

import (
	"math/rand/v2"
	"slices"
	"time"
)

// world is a simulation: events in virtual time, random numbers from a seed.
type world struct {
	start, now time.Time
	rng        *rand.Rand
	events     events
	count      int
}

func newWorld(seed uint64) *world {
	start := time.Unix(1_000_000, 0)
	return &world{start: start, now: start, rng: rand.New(rand.NewPCG(seed, 7))}
}

type event struct {
	at  time.Time
	seq int // events of one time happen in the order in which they were made
	fn  func()
}

// events is a heap: the next one is the first.
type events []event

func (e events) before(i, j int) bool {
	if e[i].at.Equal(e[j].at) {
		return e[i].seq < e[j].seq
	}
	return e[i].at.Before(e[j].at)
}

func (e *events) push(x event) {
	*e = append(*e, x)
	for i := len(*e) - 1; i > 0 && e.before(i, (i-1)/2); i = (i - 1) / 2 {
		(*e)[i], (*e)[(i-1)/2] = (*e)[(i-1)/2], (*e)[i]
	}
}

func (e *events) pop() event {
	list := *e
	x, n := list[0], len(list)-1
	list[0], list[n] = list[n], event{}
	*e = list[:n]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < n; child++ {
			if e.before(child, least) {
				least = child
			}
		}
		if least == i {
			return x
		}
		list[i], list[least] = list[least], list[i]
		i = least
	}
}

func (w *world) after(d time.Duration, fn func()) {
	w.count++
	w.events.push(event{w.now.Add(d), w.count, fn})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.events) > 0 && !w.events[0].at.After(end) {
		e := w.events.pop()
		w.now = e.at
		e.fn()
	}
	w.now = end
}

// arrive calls fn at random times, so often a second, until d from now.
func (w *world) arrive(perSecond float64, d time.Duration, fn func()) {
	end := w.now.Add(d)
	var next func()
	next = func() {
		if w.now.After(end) {
			return
		}
		fn()
		w.after(time.Duration(w.rng.ExpFloat64()/perSecond*1e9), next)
	}
	w.after(0, next)
}

// about is a random time with a mean: usual answers of a server, with some slow ones.
func (w *world) about(mean time.Duration) time.Duration {
	return mean/2 + time.Duration(w.rng.ExpFloat64()*float64(mean)/2)
}

// passed is the time since the world began.
func (w *world) passed() time.Duration { return w.now.Sub(w.start) }

func percentile(list []time.Duration, p float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[int(p*float64(len(list)-1))]
}
