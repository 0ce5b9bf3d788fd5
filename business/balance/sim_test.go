package balance_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/business/balance"
)

// heedless gives every call to anybody: what a balancer without sense would do.
type heedless struct {
	balance.Passive
	w    *world
	list []*balance.Member
}

func (h *heedless) Change(m balance.Members) { h.list = m.List }

func (h *heedless) Choose(balance.Call) *balance.Member {
	return h.list[h.w.rng.IntN(len(h.list))]
}

// maker makes a balancer for a world.
type maker func(w *world) balance.Balancer

func named(t *testing.T, name string) maker {
	return func(w *world) balance.Balancer {
		mk, err := balance.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return mk(balance.Settings{Rand: w.rng.Uint64, Zone: "here"})
	}
}

func planted(w *world) balance.Balancer { return &heedless{w: w} }

// weights by which the tests below ask for shares.
var weights = []int{100, 200, 300, 150, 250}

func weighted() ([]balance.Instance, map[string]float64) {
	list, want := instances(len(weights)), make(map[string]float64)
	for i := range list {
		list[i].Weight = weights[i]
		want[list[i].ID] = float64(weights[i])
	}
	return list, want
}

// deviation is how far calls are from their weights, when each of them ends at
// once, and when many are in flight.
func deviation(mk maker) (idle, loaded float64) {
	list, want := weighted()
	w := newWorld(1)
	s := w.service(balance.Config{Balancer: mk(w)}, list)
	for i := range 100_000 {
		p, _ := s.g.Pick(balance.Call{Now: w.now, Key: fmt.Sprint(i)})
		s.got[p.Member.Instance().ID]++
		s.g.End(p, w.now, balance.OK)
	}
	idle = worst(s.got, want)
	s.forget()
	s.callers(200, 200*time.Millisecond)
	w.run(time.Second)
	return idle, worst(s.got, want)
}

func TestWeightsAreKept(t *testing.T) {
	for _, name := range []string{"weighted", "random", "least-pending", "hash"} {
		t.Run(name, func(t *testing.T) {
			idle, loaded := deviation(named(t, name))
			t.Logf("off by %.2f %% idle, %.2f %% loaded", 100*idle, 100*loaded)
			assert.LessOrEqual(t, idle, 0.03, "idle")
			assert.LessOrEqual(t, loaded, 0.03, "loaded")
		})
	}
	t.Run("planted: weights are not looked at", func(t *testing.T) {
		idle, loaded := deviation(planted)
		assert.Greater(t, idle, 0.03)
		assert.Greater(t, loaded, 0.03)
	})
}

// slowOne is the 99th percentile of all calls when one instance of ten takes a
// hundred times as long as the others, and when none does.
func slowOne(mk maker, load func(*service)) (with, without time.Duration) {
	measure := func(slow time.Duration) time.Duration {
		w := newWorld(2)
		s := w.service(balance.Config{Balancer: mk(w), Outliers: balance.Outliers{Off: true}}, instances(10))
		s.latency = func(id string) time.Duration {
			if id == "d" {
				return w.about(slow)
			}
			return w.about(time.Millisecond)
		}
		load(s)
		w.run(10 * time.Second)
		return s.percentile(0.99)
	}
	return measure(100 * time.Millisecond), measure(time.Millisecond)
}

func TestOneSlowInstanceOfTen(t *testing.T) {
	loads := map[string]func(*service){
		"1 caller":    func(s *service) { s.callers(1, 5*time.Second) },
		"2 callers":   func(s *service) { s.callers(2, 5*time.Second) },
		"4 callers":   func(s *service) { s.callers(4, 3*time.Second) },
		"16 callers":  func(s *service) { s.callers(16, time.Second) },
		"64 callers":  func(s *service) { s.callers(64, 250*time.Millisecond) },
		"500 a s":     func(s *service) { s.arrive(500, 8*time.Second, func() { s.call("", nil) }) },
		"5,000 a s":   func(s *service) { s.arrive(5000, 2*time.Second, func() { s.call("", nil) }) },
		"50,000 a s":  func(s *service) { s.arrive(50_000, 200*time.Millisecond, func() { s.call("", nil) }) },
		"500 callers": func(s *service) { s.callers(500, 40*time.Millisecond) },
	}
	for _, name := range []string{balance.Default, "latency", "zone"} {
		for at, load := range loads {
			if name != balance.Default && at != "4 callers" && at != "64 callers" {
				continue
			}
			t.Run(name+"/"+at, func(t *testing.T) {
				with, without := slowOne(named(t, name), load)
				t.Logf("p99 %v with, %v without: %.2f times", with, without, float64(with)/float64(without))
				assert.LessOrEqual(t, with, 3*without)
			})
		}
	}
	for _, name := range []string{"random", "round-robin"} {
		t.Run("planted: "+name, func(t *testing.T) {
			with, without := slowOne(named(t, name), loads["16 callers"])
			assert.Greater(t, with, 3*without)
		})
	}
	t.Run("planted: ties are not broken by latency", func(t *testing.T) {
		with, without := slowOne(func(w *world) balance.Balancer { return &tieless{heedless{w: w}} }, loads["1 caller"])
		assert.Greater(t, with, 3*without)
	})
}

// tieless is the power of two choices by calls in flight and nothing else.
type tieless struct{ heedless }

func (b *tieless) Choose(balance.Call) *balance.Member {
	i, j := b.w.rng.IntN(len(b.list)), b.w.rng.IntN(len(b.list)-1)
	if j >= i {
		j++
	}
	if b.list[j].Pending() < b.list[i].Pending() {
		return b.list[j]
	}
	return b.list[i]
}

// TestASlowInstanceIsTriedAgain: an instance that was slow gets its share again
// some time after it is no more.
func TestASlowInstanceIsTriedAgain(t *testing.T) {
	for _, name := range []string{balance.Default, "latency"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(3)
			s := w.service(balance.Config{Balancer: named(t, name)(w), Outliers: balance.Outliers{Off: true}}, instances(10))
			slow := 100 * time.Millisecond
			s.latency = func(id string) time.Duration {
				if id == "d" {
					return w.about(slow)
				}
				return w.about(time.Millisecond)
			}
			s.callers(1, 100*time.Second)
			w.run(5 * time.Second)
			assert.Less(t, s.got["d"], s.total()/100)
			slow = time.Millisecond
			w.run(85 * time.Second)
			s.forget()
			w.run(10 * time.Second)
			t.Logf("%d of %d", s.got["d"], s.total())
			assert.Greater(t, s.got["d"], s.total()/20)
		})
	}
}

// TestPeaksSendCallsElsewhereAtOnce is what Latency is for: instances that are
// fast or slow by turns.
func TestPeaksSendCallsElsewhereAtOnce(t *testing.T) {
	measure := func(mk maker) time.Duration {
		w := newWorld(4)
		s := w.service(balance.Config{Balancer: mk(w), Outliers: balance.Outliers{Off: true}}, instances(10))
		s.latency = func(id string) time.Duration {
			if int(w.now.Unix()/20)%10 == int(id[0]-'a') {
				return w.about(20 * time.Millisecond)
			}
			return w.about(time.Millisecond)
		}
		s.callers(8, 15*time.Second)
		w.run(16 * time.Second)
		return s.percentile(0.99)
	}
	latency, blind := measure(named(t, "latency")), measure(planted)
	t.Logf("p99 %v, of a random choice %v", latency, blind)
	assert.LessOrEqual(t, latency, 5*time.Millisecond)
	assert.Greater(t, blind, 5*time.Millisecond)
}

// TestTurnsAreSpreadOut: the calls to one instance do not come in bursts.
func TestTurnsAreSpreadOut(t *testing.T) {
	list, _ := weighted()
	list[4].Weight = 800
	w := newWorld(5)
	longest := func(b balance.Balancer, list []balance.Instance) (most int) {
		g := w.group(balance.Config{Balancer: b}, list)
		last, run := "", 0
		for range 10_000 {
			p, _ := g.Pick(balance.Call{Now: w.now})
			g.End(p, w.now, balance.OK)
			if id := p.Member.Instance().ID; id == last {
				run++
			} else {
				last, run = id, 1
			}
			most = max(most, run)
		}
		return most
	}
	smooth, random := longest(named(t, "weighted")(w), list), longest(named(t, "random")(w), list)
	t.Logf("longest run of one instance: %d, by chance %d", smooth, random)
	assert.LessOrEqual(t, smooth, 3, "the heaviest has a half of the weight")
	assert.Greater(t, random, 3, "planted")
	list = instances(9)
	list[0].Weight = 800
	assert.LessOrEqual(t, longest(named(t, "weighted")(w), list), 4, "the light ones do not all come in the same round")
}

func TestOnePeakIsEnough(t *testing.T) {
	w := newWorld(6)
	g := w.group(balance.Config{Balancer: named(t, "latency")(w)}, instances(2))
	slow := 0
	for i := range 400 {
		p, _ := g.Pick(balance.Call{Now: w.now})
		took := 10 * time.Millisecond
		if p.Member.Instance().ID == "a" {
			took = time.Millisecond
			slow++
			if slow == 50 {
				took = 50 * time.Millisecond
			}
		}
		w.run(took)
		g.End(p, w.now, balance.OK)
		if slow == 50 {
			slow++
			t.Log("the peak is call", i)
		}
	}
	assert.Equal(t, 51, slow, "none after its peak")
}
