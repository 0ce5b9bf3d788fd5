package memlog

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

func TestTheLargestLogsMakeRoom(t *testing.T) {
	const most = 1 << 20
	logs := New(Config{MaxBytes: most})
	sizes := map[string]int{"a": 10, "b": 100, "c": 1000, "d": 1200}
	for name, n := range sizes {
		l, err := logs.Open(t.Context(), name, "1", abstract.LogConfig{History: abstract.History{Count: 10_000}})
		require.NoError(t, err)
		for range n {
			_, err := l.Append(t.Context(), []abstract.LogEntry{{Data: make([]byte, 1000)}})
			require.NoError(t, err)
		}
		assert.LessOrEqual(t, logs.Bytes(), int64(most))
	}
	kept := func(name string) int {
		l, err := logs.Open(t.Context(), name, "1", abstract.LogConfig{History: abstract.History{Count: 10_000}})
		require.NoError(t, err)
		first, last, err := l.Bounds(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, sizes[name], last, "what was let go was the oldest")
		return int(last - first + 1)
	}
	assert.Equal(t, 10, kept("a"))
	assert.Equal(t, 100, kept("b"))
	assert.InDelta(t, kept("c"), kept("d"), 60, "both have come down to the same")
	require.NoError(t, logs.Remove(t.Context(), "c", "1"))
	require.NoError(t, logs.Remove(t.Context(), "d", "1"))
	assert.EqualValues(t, 110*(1000+entryCost), logs.Bytes())
	require.NoError(t, logs.Close())
	assert.Zero(t, logs.Bytes(), "nothing is left")
}

func TestIDsAreCounted(t *testing.T) {
	logs := New(Config{MaxBytes: 1 << 20})
	l, err := logs.Open(t.Context(), "t", "1", abstract.LogConfig{Dedup: time.Hour})
	require.NoError(t, err)
	for i := range 20_000 {
		_, err := l.Append(t.Context(), []abstract.LogEntry{{ID: strconv.Itoa(i)}})
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, logs.Bytes(), int64(1<<20))
	last, err := l.Append(t.Context(), []abstract.LogEntry{{ID: "19999"}})
	require.NoError(t, err)
	assert.True(t, last[0].Duplicate, "the oldest are forgotten")
}

func TestALogGoesOnBehindWhereItIsTold(t *testing.T) {
	logs := New(Config{})
	open := func(last uint64) abstract.Log {
		l, err := logs.Open(t.Context(), "t", "1", abstract.LogConfig{History: abstract.History{Count: 10}, Last: last})
		require.NoError(t, err)
		return l
	}
	add := func(l abstract.Log) uint64 {
		offsets, err := l.Append(t.Context(), []abstract.LogEntry{{Data: []byte("x")}})
		require.NoError(t, err)
		return offsets[0].Offset
	}
	assert.EqualValues(t, 6, add(open(5)))
	assert.EqualValues(t, 7, add(open(3)), "it is further already")
	first, _, err := open(6).Bounds(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 6, first)
	first, last, err := open(20).Bounds(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []uint64{21, 20}, []uint64{first, last}, "what does not lead up to it is forgotten")
}

func TestWaterLevel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOf(rapid.Int64Range(0, 100)).Draw(t, "weights")
		most := rapid.Int64Range(0, 2000).Draw(t, "most")
		level := waterLevel(weights, most)
		sum := func(level int64) (n int64) {
			for _, w := range weights {
				n += min(w, level)
			}
			return n
		}
		if all := sum(100); sum(level) > most || level < 100 && sum(level+1) <= most && sum(level) < all {
			t.Fatalf("level %d for %v and %d", level, weights, most)
		}
	})
}
