package topiclogtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

func appendGivesOffsetsInOrder(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	assert.EqualValues(t, 1, l.append("a"))
	assert.EqualValues(t, 2, l.append("b"))
	assert.EqualValues(t, 5, l.append("c", "d", "e"))
	assert.EqualValues(t, 55, l.append(numbered(50)...), "many at once")
	assert.EqualValues(t, 56, l.append("f"))
	assert.Equal(t, "1=a 2=b 3=c 4=d 5=e 6=0", show(l.read(1, 6, 1<<20)))
	assert.Equal(t, "55=49 56=f", show(l.all(55)))
	first, last := l.bounds()
	assert.EqualValues(t, 1, first)
	assert.EqualValues(t, 56, last)
	var before time.Time
	for _, e := range l.all(1) {
		assert.False(t, e.Time.IsZero())
		assert.False(t, e.Time.Before(before), "times go forward: %v, %v", before, e.Time)
		before = e.Time
	}
}

func emptyLogHasBounds(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	first, last := l.bounds()
	assert.EqualValues(t, 1, first)
	assert.EqualValues(t, 0, last)
	for _, from := range []uint64{0, 1, 2, 1 << 40} {
		assert.Empty(t, l.read(from, 10, 1000))
	}
	offsets, err := l.Append(within(t), nil)
	require.NoError(t, err)
	assert.Empty(t, offsets)
	at, err := l.OffsetAt(within(t), time.Now())
	require.NoError(t, err)
	assert.EqualValues(t, 1, at)
	assert.EqualValues(t, 1, l.append("a"))
}

func entriesComeBackAsTheyWere(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	entries := []abstract.LogEntry{
		{Data: []byte("text"), ID: "a-1"},
		{Data: []byte{}, ID: ""},
		{Data: []byte("\x00\xff\r\n\r\nNATS/1.0 503\r\n"), ID: "with spaces and \r\n lines"},
		{Data: []byte(`{"a":1}`), ID: "\xff\x00"},
		{Data: []byte("quoted"), ID: `"quoted"`},
		{Data: []byte("ü"), ID: "ü"},
		{Data: []byte(strings.Repeat("x", 1<<20)), ID: strings.Repeat("i", 200)},
	}
	_, err := l.Append(within(t), entries)
	require.NoError(t, err)
	for i, want := range entries {
		list := l.read(uint64(i+1), 1, 2<<20)
		require.Len(t, list, 1)
		assert.Equal(t, want.ID, list[0].ID)
		assert.Equal(t, string(want.Data), string(list[0].Data))
		assert.EqualValues(t, i+1, list[0].Offset)
	}
}

func topicsDoNotMix(t *testing.T, b *bench) {
	long := strings.Repeat("n", 1023)
	names := []string{
		"a", "A", "a.b", "a-b", "a b", "a_b", "a/b", "a/../b", "*", ">", "ä", "\xff", "\xfe", "a\x00b", "a\nb", "$JS.API", ".", "..", long + "1", long + "2",
	}
	for _, name := range names {
		b.open(name, "e", plenty).append(name)
	}
	b.open("a", "e.b", plenty).append("a and e.b")
	b.open("a.e", "b", plenty).append("a.e and b")
	for _, name := range names {
		assert.Equal(t, "1="+name, show(b.open(name, "e", plenty).all(1)))
	}
	listed, err := b.List(within(t))
	require.NoError(t, err)
	want := []abstract.LogName{{Topic: "a", Epoch: "e.b"}, {Topic: "a.e", Epoch: "b"}}
	for _, name := range names {
		want = append(want, abstract.LogName{Topic: name, Epoch: "e"})
	}
	assert.ElementsMatch(t, want, listed)
}

// manyAppendAtOnce has 64 appenders, and readers that follow. Everybody must see one
// order without holes.
func manyAppendAtOnce(t *testing.T, b *bench) {
	const appenders, each, readers = 64, 10, 4
	l := b.open("t", "1", plenty)
	var writing, reading sync.WaitGroup
	seen, written := make([][]string, readers), make(chan struct{})
	for r := range readers {
		reading.Go(func() { seen[r] = follow(t, l, written) })
	}
	offsets := make([][]uint64, appenders)
	for a := range appenders {
		writing.Go(func() {
			for i := 0; i < each; {
				n := 1 + (a+i)%3 // one to three entries in a call
				n = min(n, each-i)
				var data []string
				for k := range n {
					data = append(data, fmt.Sprintf("%d/%d", a, i+k))
				}
				got, err := l.Append(within(t), texts(data...))
				if !assert.NoError(t, err) || !assert.Len(t, got, n) {
					return
				}
				for _, o := range got {
					offsets[a] = append(offsets[a], o.Offset)
				}
				i += n
			}
		})
	}
	writing.Wait()
	close(written)
	reading.Wait()
	stored := seen[0]
	require.Len(t, stored, appenders*each)
	for r := range readers {
		assert.Equal(t, stored, seen[r], "a reader of another order")
	}
	for a := range appenders {
		require.Len(t, offsets[a], each)
		for i, o := range offsets[a] {
			require.Equal(t, fmt.Sprintf("%d/%d", a, i), stored[o-1], "the offset of an append")
			if i > 0 {
				assert.Greater(t, o, offsets[a][i-1], "the order of one appender")
			}
		}
	}
}

// follow reads until there is no more when everything is written, without holes.
func follow(t *testing.T, l *log, written <-chan struct{}) (data []string) {
	ctx := within(t)
	for end := false; ; {
		list, err := l.Read(ctx, uint64(len(data)+1), 50, 1<<20)
		if !assert.NoError(t, err) || end && len(list) == 0 {
			return data
		}
		for _, e := range list {
			if !assert.EqualValues(t, len(data)+1, e.Offset, "a hole") {
				return data
			}
			data = append(data, string(e.Data))
		}
		select {
		case <-written:
			end = true
		default:
		}
	}
}

func cancelledContextAppendsNothing(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := l.Append(ctx, texts("a"))
	assert.Equal(t, abstract.Cancelled, abstract.CodeOf(err), "%v", err)
	assert.EqualValues(t, 1, l.append("b"))
	assert.Equal(t, "1=b", show(l.all(1)))
}

func closedLogsRefuse(t *testing.T, b *bench) {
	l := b.open("t", "1", plenty)
	l.append("a")
	require.NoError(t, b.Close())
	ctx := within(t)
	_, err := l.Append(ctx, texts("b"))
	assert.Error(t, err)
	_, err = l.Read(ctx, 1, 1, 1)
	assert.Error(t, err)
	_, _, err = l.Bounds(ctx)
	assert.Error(t, err)
	_, err = b.Open(ctx, "t", "1", plenty)
	assert.Equal(t, abstract.Unavailable, abstract.CodeOf(err), "%v", err)
	require.NoError(t, b.Close(), "twice")
}

// entriesSurviveReopening checks what a log knows besides its entries, too.
func entriesSurviveReopening(t *testing.T, b *bench) {
	cfg := abstract.LogConfig{History: abstract.History{Count: 3}, Dedup: time.Hour}
	l := b.open("t", "1", cfg)
	l.ids("a", "b", "c", "d", "e")
	gone := b.open("gone", "1", cfg)
	gone.append("x")
	b.remove("gone", "1")
	b.open("aged", "1", abstract.LogConfig{History: abstract.History{Age: 100 * time.Millisecond}}).append("x", "y")
	aged := b.open("aged", "1", abstract.LogConfig{History: abstract.History{Age: 100 * time.Millisecond}})
	eventually(t, "it is too old", func() bool { first, _ := aged.bounds(); return first == 3 })
	b.reopen()
	l = b.open("t", "1", cfg)
	assert.Equal(t, "3=c 4=d 5=e", show(l.all(1)))
	assert.Equal(t, []abstract.LogOffset{{Offset: 5, Duplicate: true}, {Offset: 6}}, l.ids("e", "f"))
	first, last := b.open("aged", "1", plenty).bounds()
	assert.EqualValues(t, 3, first, "offsets are not used again")
	assert.EqualValues(t, 2, last)
	assert.EqualValues(t, 1, b.open("gone", "1", cfg).append("y"))
}
