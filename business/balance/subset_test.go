package balance_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"trefoil/business/balance"
)

// users is how many of the clients use each instance: the fewest, the most, and
// the mean.
func users(of func(client int, list []balance.Instance) []balance.Instance, n, clients int) (fewest, most int, mean float64) {
	list := instances(n)
	used := make(map[string]int)
	for c := range clients {
		for _, in := range of(c, list) {
			used[in.ID]++
			mean++
		}
	}
	fewest = clients
	for _, in := range list {
		fewest, most = min(fewest, used[in.ID]), max(most, used[in.ID])
	}
	return fewest, most, mean / float64(n)
}

func subset(size int) func(int, []balance.Instance) []balance.Instance {
	return func(client int, list []balance.Instance) []balance.Instance {
		return balance.Subset{Size: size, Client: uint64(client)}.Of(list)
	}
}

func TestSubsetsAreEven(t *testing.T) {
	for _, n := range []int{100, 103, 997} {
		for _, clients := range []int{50, 300} {
			fewest, most, mean := users(subset(20), n, clients)
			t.Logf("%d instances, %d clients: %d to %d of %.1f", n, clients, fewest, most, mean)
			assert.LessOrEqual(t, float64(most), 1.1*mean+3)
			assert.GreaterOrEqual(t, float64(fewest), 0.9*mean-3)
		}
	}
	byChance := func(client int, list []balance.Instance) []balance.Instance {
		list = slices.Clone(list)
		rand.New(rand.NewPCG(uint64(client), 1)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list[:20]
	}
	_, most, mean := users(byChance, 997, 300)
	assert.Greater(t, float64(most), 1.1*mean+3, "planted: drawn by chance")
}

func TestSubsetsAreTheSameEveryTime(t *testing.T) {
	list := instances(100)
	want := subset(10)(7, list)
	assert.Len(t, want, 10)
	shuffled := slices.Clone(list)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(list), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	assert.Equal(t, want, subset(10)(7, shuffled))
	assert.NotEqual(t, want, subset(10)(8, list))
}

func TestSubsetsHardlyChangeWhenOneLeaves(t *testing.T) {
	list := instances(100)
	most, all := 0, 0
	for c := range 60 {
		before := subset(20)(c, list)
		for out := range list {
			fewer := slices.Delete(slices.Clone(list), out, out+1)
			lost := 0
			after := subset(20)(c, fewer)
			for _, in := range before {
				if !slices.ContainsFunc(after, func(x balance.Instance) bool { return x.ID == in.ID }) {
					lost++
				}
			}
			most, all = max(most, lost), all+lost
		}
	}
	t.Logf("at most %d of 20 changed, on average %.2f", most, float64(all)/60/100)
	assert.LessOrEqual(t, most, 2)
}

func TestShortListsAreUsedWhole(t *testing.T) {
	list := instances(5)
	assert.Equal(t, list, balance.Subset{Size: 5}.Of(list))
	assert.Equal(t, list, balance.Subset{}.Of(list))
	long := instances(10)
	for i := range 7 {
		long[i].Draining = true
	}
	assert.ElementsMatch(t, long[7:], balance.Subset{Size: 5}.Of(long), "those that drain take nobody's place")
}

func TestAGroupUsesItsSubset(t *testing.T) {
	w := newWorld(1)
	list := instances(100)
	cfg := balance.Config{Subset: balance.Subset{Size: 8, Client: 3}}
	g := w.group(cfg, list)
	got := w.chosen(g, 2000, balance.Call{})
	assert.Len(t, got, 8)
	for _, in := range cfg.Subset.Of(list) {
		assert.Contains(t, got, in.ID)
	}
}
