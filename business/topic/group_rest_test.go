package topic

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// restingGroup is a group with a member that has given so many items back, to rest so long each.
func restingGroup(t *testing.T, cfg GroupConfig, now time.Time, rests ...time.Duration) (*Group, *Member) {
	t.Helper()
	g := NewGroup(cfg)
	m := g.Join(&Subscription{}, len(rests))
	for i := range rests {
		g.Offer(&Item{Message: i, Size: 5})
	}
	require.Len(t, deal(g)[m], len(rests))
	for i, rest := range rests {
		it, ok := g.Done(m, uint64(i+1))
		require.True(t, ok)
		g.Rest(it, now.Add(rest))
	}
	return g, m
}

func TestWhatRestsIsForNobodyUntilItsTime(t *testing.T) {
	now := time.Unix(1000, 0)
	g, m := restingGroup(t, GroupConfig{}, now, 3, 1, 1, 2)
	g.Offer(&Item{Message: 4, Size: 5})
	n, next := g.Resting()
	assert.Equal(t, 4, n)
	assert.Equal(t, now.Add(1), next)
	assert.Equal(t, 25, g.Bytes())
	g.Wake(now)
	assert.Equal(t, map[*Member][]int{m: {4}}, deal(g))
	g.Wake(now.Add(1))
	assert.Equal(t, map[*Member][]int{m: {1, 2}}, deal(g), "in their order")
	g.Offer(&Item{Message: 5, Size: 5})
	g.Wake(now.Add(3))
	assert.Equal(t, map[*Member][]int{m: {0}}, deal(g), "before what waits; nothing goes above the window")
	n, _ = g.Resting()
	assert.Zero(t, n)
	assert.Equal(t, 2, g.Waiting())
	assert.Equal(t, 30, g.Bytes())
}

func TestWhatRestsCountsAsWaiting(t *testing.T) {
	now := time.Unix(1000, 0)
	g, _ := restingGroup(t, GroupConfig{MaxBytes: 20}, now, 1, 2, 3)
	assert.True(t, g.Fits(5))
	assert.False(t, g.Fits(6))
	assert.Equal(t, 1, g.Offer(&Item{Message: 3, Size: 10}), "the one that would have come first has rested longest")
	n, next := g.Resting()
	assert.Equal(t, 2, n)
	assert.Equal(t, now.Add(2), next)
	assert.Equal(t, 3, g.Offer(&Item{Message: 4, Size: 100}), "one may always wait, and all others go")
	assert.True(t, g.DropOldest())
	assert.False(t, g.DropOldest())
	assert.Zero(t, g.Bytes())
}
