package topiclogtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func countBoundsTheLog(t *testing.T, b *bench) {
	l := b.open("t", "1", abstract.LogConfig{History: abstract.History{Count: 3}})
	l.append("a", "b")
	assert.Equal(t, "1=a 2=b", show(l.all(0)))
	l.append("c", "d", "e")
	assert.Equal(t, "3=c 4=d 5=e", show(l.all(0)))
	first, last := l.bounds()
	assert.EqualValues(t, 3, first)
	assert.EqualValues(t, 5, last)
	l.append(numbered(40)...)
	assert.Equal(t, "43=37 44=38 45=39", show(l.all(0)))
}

// bytesBoundTheLog allows for what a driver adds on the disk.
func bytesBoundTheLog(t *testing.T, b *bench) {
	const bound, size = 64 << 10, 8 << 10
	l := b.open("t", "1", abstract.LogConfig{History: abstract.History{Bytes: bound}})
	for i := range 30 {
		l.append(fmt.Sprint(i) + strings.Repeat("x", size))
		first, last := l.bounds()
		require.EqualValues(t, i+1, last)
		kept := last - first + 1
		assert.LessOrEqual(t, kept, uint64(bound/size))
		assert.GreaterOrEqual(t, kept, uint64(min(i+1, bound/size-1)))
	}
	_, err := l.Append(within(t), texts(strings.Repeat("x", bound+1)))
	_, last := l.bounds()
	if err != nil {
		assert.Equal(t, abstract.TooLarge, abstract.CodeOf(err), "%v", err)
		assert.EqualValues(t, 30, last)
		return
	}
	list := l.all(last)
	require.Len(t, list, 1, "what was taken is kept")
	assert.Len(t, list[0].Data, bound+1)
}

func ageBoundsTheLog(t *testing.T, b *bench) {
	const age = 300 * time.Millisecond
	// memory has to be bounded by more than age; the other bounds are beyond reach
	l := b.open("t", "1", abstract.LogConfig{History: abstract.History{Count: 1000, Age: age}})
	start := time.Now()
	l.append("a", "b", "c")
	eventually(t, "they are too old", func() bool { first, _ := l.bounds(); return first == 4 })
	assert.GreaterOrEqual(t, time.Since(start), age, "gone too early")
	assert.Empty(t, l.all(0))
	assert.EqualValues(t, 4, l.append("d"), "offsets go on")
	first, last := l.bounds()
	assert.EqualValues(t, 4, last)
	assert.GreaterOrEqual(t, first, uint64(4))
}

func openChangesBounds(t *testing.T, b *bench) {
	l := b.open("t", "1", abstract.LogConfig{History: abstract.History{Count: 5}})
	l.append("a", "b", "c", "d", "e")
	again := b.open("t", "1", abstract.LogConfig{History: abstract.History{Count: 2}})
	assert.Equal(t, "4=d 5=e", show(again.all(0)))
	assert.Equal(t, "4=d 5=e", show(l.all(0)), "it is the same log")
	b.open("t", "1", abstract.LogConfig{History: abstract.History{Count: 3}})
	l.append("f", "g")
	assert.Equal(t, "5=e 6=f 7=g", show(again.all(0)))
}

func duplicatesAreAppendedOnce(t *testing.T, b *bench) {
	l := b.open("t", "1", abstract.LogConfig{History: plenty.History, Dedup: time.Hour})
	l.append("no id", "no id") // never the same
	assert.Equal(t, []abstract.LogOffset{{Offset: 3}, {Offset: 4}}, l.ids("a", "b"))
	assert.Equal(t, []abstract.LogOffset{{Offset: 3, Duplicate: true}}, l.ids("a"))
	assert.Equal(t, []abstract.LogOffset{{Offset: 4, Duplicate: true}, {Offset: 5}, {Offset: 3, Duplicate: true}}, l.ids("b", "c", "a"))
	assert.Equal(t, []abstract.LogOffset{{Offset: 6}, {Offset: 6, Duplicate: true}}, l.ids("d", "d"), "in one call")
	assert.Equal(t, "1=no id 2=no id 3=a 4=b 5=c 6=d", show(l.all(1)))
	other := b.open("t", "2", abstract.LogConfig{History: plenty.History, Dedup: time.Hour})
	assert.Equal(t, []abstract.LogOffset{{Offset: 1}}, other.ids("a"), "ids are a log's own")
}

// duplicateFailsNobodyElse has one among many that go together.
func duplicateFailsNobodyElse(t *testing.T, b *bench) {
	l := b.open("t", "1", abstract.LogConfig{History: plenty.History, Dedup: time.Hour})
	l.ids("15")
	offsets := l.ids(numbered(40)...)
	next := uint64(2)
	for i, o := range offsets {
		if i == 15 {
			assert.Equal(t, abstract.LogOffset{Offset: 1, Duplicate: true}, o)
			continue
		}
		assert.Equal(t, abstract.LogOffset{Offset: next}, o)
		next++
	}
	assert.Len(t, l.all(1), 40)
}

func duplicatesAreForgotten(t *testing.T, b *bench) {
	const window = 300 * time.Millisecond
	l := b.open("t", "1", abstract.LogConfig{History: plenty.History, Dedup: window})
	start := time.Now()
	require.False(t, l.ids("a")[0].Duplicate)
	require.EqualValues(t, 2, l.append("between"))
	eventually(t, "it is forgotten", func() bool { return !l.ids("a")[0].Duplicate })
	assert.GreaterOrEqual(t, time.Since(start), window, "forgotten too early")
	assert.Equal(t, "1=a 2=between 3=a", show(l.all(1)))
}

func idsCountOnlyWithDedup(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	assert.Equal(t, []abstract.LogOffset{{Offset: 1}, {Offset: 2}}, l.ids("a", "a"))
	assert.Equal(t, []abstract.LogOffset{{Offset: 3}}, l.ids("a"))
	for _, e := range l.all(1) {
		assert.Equal(t, "a", e.ID)
	}
}

func readComesInChunks(t *testing.T, b *bench) {
	l := b.open("t", "1", abstract.LogConfig{History: abstract.History{Count: 100}})
	for range 12 {
		l.append(numbered(10)...)
	}
	assert.Len(t, l.read(21, 7, 1<<20), 7)
	assert.Equal(t, "21=0 22=1", show(l.read(0, 2, 1<<20)), "from the first that is there")
	assert.Equal(t, "21=0", show(l.read(5, 1, 1<<20)))
	assert.Equal(t, "120=9", show(l.read(120, 10, 1<<20)))
	assert.Empty(t, l.read(121, 10, 1<<20))
	assert.Empty(t, l.read(21, 0, 1<<20))
	assert.Len(t, l.all(0), 100)

	big := b.open("big", "1", plenty)
	for _, size := range []int{100, 100, 1000, 100} {
		big.append(strings.Repeat("x", size))
	}
	tests := []struct {
		name        string
		from        uint64
		bytes, most int
	}{
		{"one at least", 3, 10, 1},
		{"none at all is one", 1, 0, 1},
		{"two fit", 1, 250, 2},
		{"the third does not", 1, 1100, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := len(big.read(tt.from, 10, tt.bytes))
			assert.GreaterOrEqual(t, n, 1)
			assert.LessOrEqual(t, n, tt.most)
		})
	}
}

func offsetAtFindsTimes(t *testing.T, b *bench) {
	l := b.open("t", "1", abstract.LogConfig{History: abstract.History{Count: 5}})
	for i := range 8 {
		l.append(fmt.Sprint(i))
	}
	all := l.all(0)
	require.Len(t, all, 5)
	at := func(when time.Time) uint64 {
		offset, err := l.OffsetAt(within(t), when)
		require.NoError(t, err)
		return offset
	}
	for i, e := range all {
		want := e.Offset
		for ; i > 0 && all[i-1].Time.Equal(e.Time); i-- { // a coarse clock
			want--
		}
		assert.Equal(t, want, at(e.Time), "the time of an entry")
	}
	assert.EqualValues(t, 4, at(all[0].Time.Add(-time.Hour)))
	assert.EqualValues(t, 4, at(time.Time{}))
	assert.EqualValues(t, 9, at(all[4].Time.Add(time.Nanosecond)))
	assert.EqualValues(t, 9, at(time.Now().Add(time.Hour)))
	assert.EqualValues(t, 9, at(time.Now().AddDate(1000, 0, 0)))
}
