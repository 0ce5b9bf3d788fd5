package balance_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"trefoil/business/balance"
)

// zoned are instances of which the first ones are in the caller's zone.
func zoned(here, there int) []balance.Instance {
	list := instances(here + there)
	for i := range list {
		list[i].Zone = "there"
		if i < here {
			list[i].Zone = "here"
		}
	}
	return list
}

// atHome is the part of calls that stay in the caller's zone.
func atHome(got map[string]int, list []balance.Instance) float64 {
	home, all := 0, 0
	for _, in := range list {
		all += got[in.ID]
		if in.Zone == "here" {
			home += got[in.ID]
		}
	}
	return float64(home) / float64(all)
}

func TestCallsStayInTheirZoneWhileItIsHealthy(t *testing.T) {
	tests := []struct {
		name string
		down int // of the 10 local ones
		want float64
	}{
		{"all are healthy", 0, 1},
		{"2 of 10 are down: there is reserve", 2, 1},
		{"5 of 10 are down", 5, 0.7},
		{"8 of 10 are down", 8, 0.28},
		{"all are down", 10, 0},
	}
	share := func(mk maker, down int) float64 {
		w := newWorld(1)
		list := zoned(10, 10)
		for i := range down {
			list[i].Ejected = true
		}
		return atHome(w.chosen(w.group(balance.Config{Balancer: mk(w)}, list), 20_000, balance.Call{}), list)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.InDelta(t, tt.want, share(named(t, "zone"), tt.down), 0.02)
			assert.InDelta(t, tt.want, share(named(t, "zone:weighted"), tt.down), 0.02)
		})
	}
	assert.Less(t, share(planted, 0), 0.9, "planted: zones are not looked at")
}

func TestACallerWithoutAZoneUsesAll(t *testing.T) {
	for _, own := range []string{"", "elsewhere"} {
		w := newWorld(1)
		list := zoned(5, 5)
		list[9].Zone = ""
		b := balance.NewZone(balance.ZoneConfig{Own: own, Rand: w.rng.Uint64})
		assert.Len(t, w.chosen(w.group(balance.Config{Balancer: b}, list), 1000, balance.Call{}), 10)
	}
}

// overflow is what comes of 1,500 calls a second when the caller's zone can do no
// more than 1,000: the part that is refused, and the part that stays.
func overflow(mk maker) (refused, stayed float64) {
	w := newWorld(2)
	list := zoned(2, 8)
	s := w.service(balance.Config{Balancer: mk(w)}, list)
	room := map[string]int{} // in this hundredth of a second
	bad, all := 0, 0
	s.outcome = func(string) balance.Outcome { return balance.OK }
	w.arrive(1500, 30*time.Second, func() {
		p, _ := s.g.Pick(balance.Call{Now: w.now})
		in := p.Member.Instance()
		o := balance.OK
		if in.Zone == "here" {
			if room[in.ID]++; room[in.ID] > 5 {
				o = balance.Overloaded
			}
		}
		if w.now.Sub(time.Unix(1_000_000, 0)) > 5*time.Second {
			s.got[in.ID]++
			if all++; o == balance.Overloaded {
				bad++
			}
		}
		w.after(time.Millisecond, func() { s.g.End(p, w.now, o) })
	})
	var tick func()
	tick = func() { clear(room); w.after(10*time.Millisecond, tick) }
	tick()
	w.run(30 * time.Second)
	return float64(bad) / float64(all), atHome(s.got, list)
}

func TestOverloadSpillsIntoOtherZones(t *testing.T) {
	refused, stayed := overflow(named(t, "zone"))
	t.Logf("%.1f %% refused, %.0f %% stayed at home; 67 %% is what it can do", 100*refused, 100*stayed)
	assert.Less(t, refused, 0.05)
	assert.Greater(t, stayed, 0.4, "most of what the own zone can do")
	refused, _ = overflow(func(w *world) balance.Balancer { return &homebody{heedless{w: w}} })
	assert.Greater(t, refused, 0.05, "planted: never leaves its zone")
}

func TestCallsComeHomeWhenTheOverloadIsOver(t *testing.T) {
	w := newWorld(3)
	list := zoned(2, 8)
	g := w.group(balance.Config{Balancer: named(t, "zone")(w)}, list)
	for range 200 {
		p, _ := g.Pick(balance.Call{Now: w.now})
		g.End(p, w.now, balance.Overloaded)
	}
	assert.Less(t, atHome(w.chosen(g, 100, balance.Call{}), list), 0.5)
	w.chosen(g, 100_000, balance.Call{})
	assert.Equal(t, 1.0, atHome(w.chosen(g, 1000, balance.Call{}), list))
}

// homebody chooses in its own zone only.
type homebody struct{ heedless }

func (b *homebody) Change(m balance.Members) {
	b.list = nil
	for _, x := range m.List {
		if x.Instance().Zone == "here" {
			b.list = append(b.list, x)
		}
	}
}

func TestFullInstancesSpillIntoOtherZones(t *testing.T) {
	w := newWorld(4)
	list := zoned(2, 2)
	b := balance.NewZone(balance.ZoneConfig{Own: "here", MaxPending: 10, Rand: w.rng.Uint64})
	g := w.group(balance.Config{Balancer: b}, list)
	for range 100 {
		g.Pick(balance.Call{Now: w.now})
	}
	states := g.States(w.now)
	assert.Equal(t, 10, states[0].Pending)
	assert.Equal(t, 10, states[1].Pending)
	assert.Equal(t, 80, states[2].Pending+states[3].Pending)
}
