package balance_test

import (
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"trefoil/abstract"
	"trefoil/business/balance"
)

func TestTurnsAreTaken(t *testing.T) {
	tests := []struct {
		name string
		r    *balance.RoundRobin
		n    int
		want []int
	}{
		{"from the first", new(balance.RoundRobin), 3, []int{0, 1, 2, 0, 1, 2, 0}},
		{"from a given turn", balance.NewRoundRobinAt(7), 3, []int{1, 2, 0, 1}},
		{"one provider", balance.NewRoundRobinAt(7), 1, []int{0, 0, 0}},
		{"past the largest number", balance.NewRoundRobinAt(math.MaxUint64), 4, []int{3, 0, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list := make([]abstract.Provider, tt.n)
			for i, want := range tt.want {
				assert.Equal(t, want, tt.r.Pick(list), "pick %d", i)
			}
		})
	}
}

func TestPicksAreEven(t *testing.T) {
	const callers, each = 8, 300
	r := balance.NewRoundRobin()
	list := make([]abstract.Provider, 5)
	var mu sync.Mutex
	var got [5]int
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range each {
				i := r.Pick(list)
				mu.Lock()
				got[i]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for i, n := range got {
		assert.Equal(t, callers*each/len(list), n, "provider %d", i)
	}
}

func TestClientsDoNotAllBeginWithTheSameProvider(t *testing.T) {
	list := make([]abstract.Provider, 10)
	first := make(map[int]bool)
	for range 200 {
		first[balance.NewRoundRobin().Pick(list)] = true
	}
	assert.Greater(t, len(first), 5)
}

func TestPicksStayInsideAListThatChanges(t *testing.T) {
	r := balance.NewRoundRobin()
	for n := 1; n < 100; n++ {
		i := r.Pick(make([]abstract.Provider, n))
		assert.GreaterOrEqual(t, i, 0)
		assert.Less(t, i, n)
	}
}
