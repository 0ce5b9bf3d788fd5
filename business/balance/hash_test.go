package balance_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/business/balance"
)

// modulo takes the key's number modulo the number of members: what consistent
// hashing is not.
type modulo struct{ heedless }

func (b *modulo) Choose(c balance.Call) *balance.Member {
	h := uint64(14695981039346656037)
	for i := range len(c.Key) {
		h = (h ^ uint64(c.Key[i])) * 1099511628211
	}
	return b.list[h>>7%uint64(len(b.list))]
}

// homes are the instances of some keys when nothing is in flight.
func homes(w *world, mk maker, list []balance.Instance, keys int) []string {
	g := w.group(balance.Config{Balancer: mk(w)}, list)
	at := make([]string, keys)
	for i := range at {
		p, _ := g.Pick(balance.Call{Now: w.now, Key: fmt.Sprintf("user-%d", i)})
		at[i] = p.Member.Instance().ID
		g.End(p, w.now, balance.OK)
	}
	return at
}

// moved is the part of the keys that moves when one of n instances leaves, in
// parts of 1/n; the most for any that leaves.
func moved(mk maker, n int) (most float64) {
	const keys = 6000
	w := newWorld(1)
	list := instances(n)
	before := homes(w, mk, list, keys)
	for out := range min(n, 8) {
		fewer := append(append([]balance.Instance(nil), list[:out]...), list[out+1:]...)
		after := homes(w, mk, fewer, keys)
		count := 0
		for i := range before {
			if before[i] != after[i] {
				count++
			}
		}
		most = max(most, float64(count)/keys*float64(n))
	}
	return most
}

func TestKeysMoveOnlyFromTheOneThatLeaves(t *testing.T) {
	for _, n := range []int{2, 5, 10, 30} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			got := moved(named(t, "hash"), n)
			t.Logf("%.3f/n of the keys moved", got)
			assert.LessOrEqual(t, got, 1.2)
		})
	}
	assert.Greater(t, moved(func(w *world) balance.Balancer { return &modulo{heedless{w: w}} }, 10), 1.2, "planted")
}

func TestAKeyThatMovesLeavesTheOneThatLeft(t *testing.T) {
	w := newWorld(1)
	list := instances(10)
	before := homes(w, named(t, "hash"), list, 5000)
	after := homes(w, named(t, "hash"), list[1:], 5000)
	for i := range before {
		if before[i] != "a" {
			require.Equal(t, before[i], after[i])
		}
	}
}

func TestKeysStayWithAnInstanceThatRestartsAtItsAddress(t *testing.T) {
	w := newWorld(1)
	list, again := instances(5), instances(5)
	for i := range again {
		again[i].ID += "2"
	}
	before, after := homes(w, named(t, "hash"), list, 2000), homes(w, named(t, "hash"), again, 2000)
	for i := range before {
		require.Equal(t, before[i]+"2", after[i])
	}
}

// crowding is how many times the mean of calls in flight the fullest instance has,
// at worst, when keys are called as often as in life: few of them most of the time.
func crowding(t *testing.T, mk maker) (worst, atHome float64) {
	t.Helper()
	w := newWorld(2)
	list := instances(10)
	home := homes(w, mk, list, 1000)
	s := w.service(balance.Config{Balancer: mk(w), Outliers: balance.Outliers{Off: true}}, list)
	s.latency = func(string) time.Duration { return w.about(10 * time.Millisecond) }
	calls, stayed, had := 0, 0, make(map[string]int)
	w.arrive(100_000, 100*time.Millisecond, func() {
		key := int(math.Min(999, math.Exp(w.rng.Float64()*math.Log(1000)))) - 1 // by Zipf's law
		before := s.got[home[key]]
		s.call(fmt.Sprintf("user-%d", key), nil)
		calls++
		if s.got[home[key]] > before {
			stayed++
		}
		total, here := 0, 0
		for _, st := range s.g.States(w.now) {
			total += st.Pending
			if s.got[st.Instance.ID] > had[st.Instance.ID] {
				had[st.Instance.ID]++
				here = st.Pending
			}
		}
		// The bound is for who gets a call, when it gets it, in whole calls rounded up.
		worst = max(worst, float64(here-1)/(float64(total)/10))
	})
	w.run(90 * time.Millisecond)
	return worst, float64(stayed) / float64(calls)
}

func TestNoInstanceHasMuchMoreThanTheMean(t *testing.T) {
	worst, stayed := crowding(t, named(t, "hash"))
	t.Logf("fullest %.3f times the mean; %.0f %% of calls at their key's first choice", worst, 100*stayed)
	assert.LessOrEqual(t, worst, 1.25)
	assert.Greater(t, stayed, 0.5, "or it would be no consistent hashing")
	worst, _ = crowding(t, func(w *world) balance.Balancer { return balance.NewHash(1000, w.rng.Uint64) })
	assert.Greater(t, worst, 1.25, "planted: no bound")
}
