package memlog

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/topiclogtest"
)

func TestConformance(t *testing.T) {
	topiclogtest.Run(t, topiclogtest.Driver{
		Open: func(*testing.T) abstract.TopicLog { return New(Config{}) },
	})
}

// clock is a time that a test sets.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T, c *clock, cfg abstract.LogConfig) *log {
	l, err := New(Config{Now: c.Now}).Open(t.Context(), "t", "1", cfg)
	require.NoError(t, err)
	return l.(*log)
}

func appendIDs(t *testing.T, l *log, ids ...string) []abstract.LogOffset {
	entries := make([]abstract.LogEntry, len(ids))
	for i, id := range ids {
		entries[i] = abstract.LogEntry{ID: id, Data: []byte(id)}
	}
	offsets, err := l.Append(t.Context(), entries)
	require.NoError(t, err)
	return offsets
}

func TestAgeIsTheClocks(t *testing.T) {
	c := &clock{now: time.Now()}
	l := open(t, c, abstract.LogConfig{History: abstract.History{Count: 10, Age: time.Minute}, Dedup: 2 * time.Minute})
	appendIDs(t, l, "a")
	c.now = c.now.Add(30 * time.Second)
	appendIDs(t, l, "b")
	c.now = c.now.Add(30*time.Second - 1)
	first, last, err := l.Bounds(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []uint64{1, 2}, []uint64{first, last})
	c.now = c.now.Add(1)
	first, _, err = l.Bounds(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 2, first)
	assert.Equal(t, []abstract.LogOffset{{Offset: 1, Duplicate: true}}, appendIDs(t, l, "a"), "ids have a time of their own")
	c.now = c.now.Add(time.Minute)
	assert.Equal(t, []abstract.LogOffset{{Offset: 3}}, appendIDs(t, l, "a"))
	assert.Len(t, l.ids, 2)
	assert.Len(t, l.seen, 2)
}

// TestIDsAreBounded appends more of them than are remembered.
func TestIDsAreBounded(t *testing.T) {
	l := open(t, &clock{now: time.Now()}, abstract.LogConfig{Dedup: time.Hour})
	for i := range maxIDs + 10 {
		appendIDs(t, l, strconv.Itoa(i))
	}
	assert.Len(t, l.ids, maxIDs)
	assert.False(t, appendIDs(t, l, "0")[0].Duplicate, "the oldest are forgotten")
	assert.True(t, appendIDs(t, l, "100")[0].Duplicate)
	l.configure(abstract.LogConfig{})
	assert.Empty(t, l.ids)
	assert.Empty(t, l.seen)
}

func TestNothingIsKeptWithoutBounds(t *testing.T) {
	l := open(t, &clock{now: time.Now()}, abstract.LogConfig{})
	for range 1000 {
		appendIDs(t, l, "a")
	}
	first, last, err := l.Bounds(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []uint64{1001, 1000}, []uint64{first, last})
	assert.LessOrEqual(t, cap(l.entries), 1)
	assert.Zero(t, l.bytes)
}

// TestOldEntriesAreLetGo checks that what has left is not kept alive by the list.
func TestOldEntriesAreLetGo(t *testing.T) {
	l := open(t, &clock{now: time.Now()}, abstract.LogConfig{History: abstract.History{Count: 10}})
	for range 100_000 {
		appendIDs(t, l, "a")
	}
	assert.LessOrEqual(t, cap(l.entries), 64)
	assert.EqualValues(t, 10, l.bytes)
}
