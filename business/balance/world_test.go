package balance_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
)

// world is a simulation: events in virtual time, random numbers from a seed.
type world struct {
	now    time.Time
	rng    *rand.Rand
	events events
	count  int
}

func newWorld(seed uint64) *world {
	return &world{now: time.Unix(1_000_000, 0), rng: rand.New(rand.NewPCG(seed, 7))}
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

// instances are n of them, named a, b, c ...
func instances(n int) []balance.Instance {
	list := make([]balance.Instance, n)
	for i := range list {
		list[i] = balance.Instance{ID: string(rune('a' + i)), Host: abstract.Host{IP: fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), Port: 7000}}
		if n > 26 {
			list[i].ID = fmt.Sprintf("i%03d", i)
		}
	}
	return list
}

// group is a Group of instances in a world.
func (w *world) group(cfg balance.Config, list []balance.Instance) *balance.Group {
	g := balance.NewGroup(cfg, w.now)
	g.Update(list, w.now)
	return g
}

// service is a Group whose instances answer; what calls came to is noted.
type service struct {
	*world
	g       *balance.Group
	latency func(id string) time.Duration
	outcome func(id string) balance.Outcome
	got     map[string]int
	took    []time.Duration
}

func (w *world) service(cfg balance.Config, list []balance.Instance) *service {
	return &service{
		world: w, g: w.group(cfg, list), got: make(map[string]int),
		latency: func(string) time.Duration { return w.about(time.Millisecond) },
		outcome: func(string) balance.Outcome { return balance.OK },
	}
}

// call makes one call, and then what is to be done after it.
func (s *service) call(key string, then func()) {
	p, ok := s.g.Pick(balance.Call{Now: s.now, Key: key})
	if !ok {
		panic("nobody")
	}
	id := p.Member.Instance().ID
	s.got[id]++
	d := s.latency(id)
	s.after(d, func() {
		s.g.End(p, s.now, s.outcome(id))
		s.took = append(s.took, d)
		if then != nil {
			then()
		}
	})
}

// callers call one after the other, until d from now.
func (s *service) callers(n int, d time.Duration) {
	end := s.now.Add(d)
	var again func()
	again = func() {
		if s.now.Before(end) {
			s.call("", again)
		}
	}
	for range n {
		s.after(time.Duration(s.rng.Float64()*1e6), again)
	}
}

func (s *service) forget() { s.got, s.took = make(map[string]int), nil }

func (s *service) total() (n int) {
	for _, c := range s.got {
		n += c
	}
	return n
}

func (s *service) percentile(p float64) time.Duration {
	slices.Sort(s.took)
	return s.took[int(p*float64(len(s.took)-1))]
}

// worst is the largest deviation of calls from what shares promise, in parts of the promise.
func worst(got map[string]int, want map[string]float64) float64 {
	calls, weights, most := 0.0, 0.0, 0.0
	for id, w := range want {
		calls += float64(got[id])
		weights += w
	}
	for id, w := range want {
		promised := calls * w / weights
		most = max(most, abs(float64(got[id])-promised)/promised)
	}
	return most
}

func abs(x float64) float64 { return max(x, -x) }
