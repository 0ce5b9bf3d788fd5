package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The library that rotates keeps a goroutine for each file; it never ends.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(`gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun`))
}

// gate is a sink that writes when it is let, and fails when it is told to.
type gate struct {
	stuck chan struct{} // closed: writes go through

	mu       sync.Mutex
	text     strings.Builder
	fail     func(p []byte) (n int, err error) // nil: all is well
	reopened int
	closed   int
}

func openGate() *gate {
	g := &gate{stuck: make(chan struct{})}
	close(g.stuck)
	return g
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.stuck
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		n, err := g.fail(p)
		g.text.Write(p[:n])
		return n, err
	}
	return g.text.Write(p)
}

func (g *gate) Reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reopened++
}

func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed++
	return nil
}

func (g *gate) failing(fail func([]byte) (int, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail = fail
}

func (g *gate) lines() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Split(strings.TrimSuffix(g.text.String(), "\n"), "\n")
}

// told is what a queue says of itself, in words short enough for tests.
type told struct {
	mu       sync.Mutex
	troubles []error
}

func (t *told) teller() teller {
	return teller{
		dropped: func(n uint64) []byte { return fmt.Appendf(nil, "dropped %d\n", n) },
		lost:    func(n uint64) []byte { return fmt.Appendf(nil, "lost %d\n", n) },
		trouble: func(err error) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.troubles = append(t.troubles, err)
		},
	}
}

func write(t *testing.T, q *queue, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		text := fmt.Sprintf("line %d\n", i)
		n, err := io.WriteString(q, text)
		require.NoError(t, err)
		require.Equal(t, len(text), n)
	}
}

// account adds up what a log holds: its lines, which must be in order, and those
// it says are missing.
func account(t *testing.T, lines []string) (written, missing uint64) {
	t.Helper()
	next := uint64(1)
	for _, l := range lines {
		var n uint64
		switch {
		case scan(l, "dropped %d", &n), scan(l, "lost %d", &n):
			missing += n
			next += n
		case scan(l, "line %d", &n):
			require.Equal(t, next, n, "a gap stands where lines are missing, and says how many")
			written++
			next++
		default:
			require.Fail(t, "strange line", "%q", l)
		}
	}
	return written, missing
}

func scan(line, format string, n *uint64) bool {
	got, err := fmt.Sscanf(line, format, n)
	return err == nil && got == 1
}

func TestASinkThatBlocksForEverBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{stuck: make(chan struct{})}
		q := newQueue(g, bounds{lines: 100, bytes: 1 << 20}, (&told{}).teller())
		write(t, q, 1, 1)
		synctest.Wait() // it is stuck in the first line
		write(t, q, 2, 1000)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		require.ErrorIs(t, q.close(ctx), context.DeadlineExceeded, "the end is bounded too")
		n, err := q.Write([]byte("later\n"))
		require.NoError(t, err)
		assert.Equal(t, 6, n)

		close(g.stuck) // only so that the goroutine ends
		<-q.ended
		written, missing := account(t, g.lines())
		assert.Equal(t, uint64(100), written, "what is being written counts")
		assert.Equal(t, uint64(901), missing)
	})
}

func TestDroppedLinesAreToldAsSoonAsThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{stuck: make(chan struct{})}
		q := newQueue(g, bounds{lines: 3, bytes: 1 << 20}, (&told{}).teller())
		write(t, q, 1, 1)
		synctest.Wait()
		write(t, q, 2, 7)
		close(g.stuck)
		synctest.Wait() // nobody logs anything more
		assert.Equal(t, []string{"line 1", "line 2", "line 3", "dropped 4"}, g.lines())
		write(t, q, 8, 8)
		require.NoError(t, q.close(t.Context()))
		assert.Equal(t, []string{"line 1", "line 2", "line 3", "dropped 4", "line 8"}, g.lines())
	})
}

func TestAShortLineThatFitsStandsBehindTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{stuck: make(chan struct{})}
		q := newQueue(g, bounds{lines: 100, bytes: 30}, (&told{}).teller())
		for _, text := range []string{"first\n", "a line that is far too long for it\n", "second\n"} {
			_, err := io.WriteString(q, text)
			require.NoError(t, err)
		}
		close(g.stuck)
		require.NoError(t, q.close(t.Context()))
		assert.Equal(t, []string{"first", "dropped 1", "second"}, g.lines())
	})
}

func TestALineOfAnySizeIsNoDanger(t *testing.T) {
	g := openGate()
	q := newQueue(g, bounds{lines: 100, bytes: 64 << 20}, (&told{}).teller())
	_, err := q.Write(make([]byte, maxLine+1))
	require.NoError(t, err)
	long := strings.Repeat("x", maxLine-1)
	_, err = io.WriteString(q, long+"\n")
	require.NoError(t, err)
	require.NoError(t, q.close(t.Context()))
	assert.Equal(t, []string{"dropped 1", long}, g.lines())
}

func TestManyWritersLoseNoCountAndEachKeepsItsOrder(t *testing.T) {
	const writers, each = 8, 5000
	g := openGate()
	q := newQueue(g, bounds{lines: 64, bytes: 4 << 10}, (&told{}).teller())
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				fmt.Fprintf(q, "%d %d\n", w, i)
			}
		})
	}
	all.Wait()
	require.NoError(t, q.close(t.Context()))
	var last [writers]int
	for w := range last {
		last[w] = -1
	}
	var total uint64
	for _, l := range g.lines() {
		var n uint64
		if scan(l, "dropped %d", &n) {
			total += n
			continue
		}
		var w, i int
		_, err := fmt.Sscanf(l, "%d %d", &w, &i)
		require.NoError(t, err, l)
		require.Greater(t, i, last[w])
		last[w] = i
		total++
	}
	assert.Equal(t, uint64(writers*each), total)
}

func TestADiskThatFailsIsToldOnceAndItsLinesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("no space left")
		g, said := openGate(), &told{}
		q := newQueue(g, bounds{lines: 1000, bytes: 1 << 20}, said.teller())
		write(t, q, 1, 2)
		synctest.Wait()
		g.failing(func([]byte) (int, error) { return 0, full })
		for i := 3; i <= 9; i++ {
			write(t, q, i, i)
			synctest.Wait() // each is tried
		}
		assert.Equal(t, []error{full}, said.troubles, "once")
		g.failing(nil)
		write(t, q, 10, 11)
		synctest.Wait()
		assert.Equal(t, []string{"line 1", "line 2", "lost 7", "line 10", "line 11"}, g.lines())

		g.failing(func([]byte) (int, error) { return 0, full })
		write(t, q, 12, 12)
		synctest.Wait()
		assert.Len(t, said.troubles, 2, "it was well in between")
		g.failing(nil)
		require.NoError(t, q.close(t.Context()))
		assert.Equal(t, "lost 1", g.lines()[5], "said at the end when nothing else was")
	})
}

func TestALineWrittenInPartIsLostAndTheNextBeginsANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, said := openGate(), &told{}
		g.failing(func(p []byte) (int, error) { return min(len(p), 10), errors.New("no space left") })
		g.stuck = make(chan struct{})
		q := newQueue(g, bounds{lines: 1000, bytes: 1 << 20}, said.teller())
		write(t, q, 1, 1)
		synctest.Wait()
		write(t, q, 2, 4) // one chunk: line 2 is written, and a part of line 3
		close(g.stuck)
		synctest.Wait()
		g.failing(nil)
		write(t, q, 5, 5)
		require.NoError(t, q.close(t.Context()))
		assert.Equal(t, []string{"line 1", "line 2", "lin", "lost 2", "line 5"}, g.lines())
	})
}

func TestReplacedSinkIsClosedAndNothingIsLostBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, never, next := openGate(), openGate(), openGate()
		q := newQueue(old, bounds{lines: 1000, bytes: 1 << 20}, (&told{}).teller())
		write(t, q, 1, 5)
		synctest.Wait()
		q.openAgain()
		synctest.Wait()
		assert.Equal(t, 1, old.reopened)
		q.replace(never)
		q.replace(next)
		write(t, q, 6, 9)
		require.NoError(t, q.close(t.Context()))
		assert.Equal(t, 1, old.closed)
		assert.Equal(t, 1, never.closed)
		assert.Equal(t, 1, next.closed)
		lines := append(append(old.lines(), never.lines()...), next.lines()...)
		written, missing := account(t, without(lines, ""))
		assert.Equal(t, uint64(9), written)
		assert.Zero(t, missing)
	})
}

func without(lines []string, what string) []string {
	var rest []string
	for _, l := range lines {
		if l != what {
			rest = append(rest, l)
		}
	}
	return rest
}

func BenchmarkCallerOfAStuckLog(b *testing.B) {
	g := &gate{stuck: make(chan struct{})}
	q := newQueue(g, bounds{lines: 8192, bytes: 4 << 20}, (&told{}).teller())
	line := []byte(strings.Repeat("x", 160) + "\n")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = q.Write(line)
	}
	close(g.stuck)
	_ = q.close(b.Context())
}

// nowhere is a sink that takes everything.
type nowhere struct{ stream }

func BenchmarkCaller(b *testing.B) {
	q := newQueue(nowhere{stream{io.Discard}}, bounds{lines: 8192, bytes: 4 << 20}, (&told{}).teller())
	line := []byte(strings.Repeat("x", 160) + "\n")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = q.Write(line)
	}
	_ = q.close(b.Context())
}
