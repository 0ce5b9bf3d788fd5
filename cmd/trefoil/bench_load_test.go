package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"trefoil/abstract"
)

func TestPaceKeepsToItsTimesWhateverOperationsTake(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begun := time.Now()
	const rate, d = 10_000, 100 * time.Millisecond
	p := newPace(ctx, rate, begun, d)
	n := int64(0)
	for {
		due, ok := p.next(ctx)
		if !ok {
			break
		}
		require.Equal(t, begun.Add(time.Duration(n)*time.Second/rate), due)
		require.False(t, time.Now().Before(due), "nothing begins early")
		n++
	}
	p.ended.Wait()
	assert.EqualValues(t, 1000, n)
	assert.Zero(t, p.unsent(d))
}

func TestLoadCountsWhatWasDueAndDidNotBegin(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	l := load{
		workers: 1, rate: 1000, duration: 100 * time.Millisecond, tally: newTally(1), stop: func() {},
		op: func(int, time.Time) (time.Duration, error) { <-stuck; return time.Millisecond, nil },
	}
	time.AfterFunc(200*time.Millisecond, func() { close(stuck) }) // later than the load's end
	end := l.run(t.Context(), io.Discard)
	done := l.tally.ok.Load()
	assert.Positive(t, done)
	assert.EqualValues(t, 100, done+end.unsent)
	assert.False(t, end.interrupted)
}

func TestInterruptEndsOperationsThatDoNotEndByThemselves(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stopped := make(chan struct{})
	l := load{
		workers: 3, duration: time.Hour, tally: newTally(3), stop: func() { close(stopped) },
		op: func(int, time.Time) (time.Duration, error) {
			interrupt()
			<-stopped
			return 0, errors.New("ended")
		},
	}
	end := l.run(ctx, io.Discard)
	assert.True(t, end.interrupted)
	assert.Positive(t, end.unfinished)
	assert.LessOrEqual(t, end.unfinished, int64(3))
	m := l.tally.measured(end)
	assert.Zero(t, m.Failed, "what we have ended ourselves is no failure")
	assert.Error(t, nothingDone("operation", m))
}

func TestStepsCountEveryLatencyOnceAndInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tl := newTally(rapid.IntRange(1, 40).Draw(t, "workers"))
		list := rapid.SliceOfN(rapid.Int64Range(-5, int64(3*time.Hour)), 0, 200).Draw(t, "latencies")
		for i, ns := range list {
			tl.done(i, time.Duration(ns))
		}
		m := tl.measured(loadEnd{elapsed: time.Second})
		for _, steps := range [][]stepOutput{m.Histogram, coarser(m.Histogram)} {
			sum, last := int64(0), 0.0
			for _, st := range steps {
				if st.UpTo <= last {
					t.Fatalf("steps are not in order: %v", steps)
				}
				sum, last = sum+st.Count, st.UpTo
			}
			if sum != int64(len(list)) {
				t.Fatalf("%d of %d latencies are counted", sum, len(list))
			}
		}
		if n := len(m.Histogram); n > 0 && (m.Histogram[0].Count == 0 || m.Histogram[n-1].Count == 0) {
			t.Fatalf("there are empty steps at an end: %v", m.Histogram)
		}
	})
}

func TestStepsAreWhereTheirLatenciesAre(t *testing.T) {
	tl := newTally(1)
	for _, d := range []time.Duration{0, 900 * time.Nanosecond, 1400 * time.Nanosecond, 40 * time.Microsecond, 2500 * time.Microsecond} {
		tl.done(0, d)
	}
	var got []stepOutput
	for _, st := range tl.measured(loadEnd{elapsed: time.Second}).Histogram {
		if st.Count > 0 {
			got = append(got, st)
		}
	}
	assert.Equal(t, []stepOutput{{1, 2}, {1.5, 1}, {50, 1}, {3000, 1}}, got)
}

func TestLongHistogramFitsAScreen(t *testing.T) {
	tl := newTally(1)
	for d := time.Microsecond; d < time.Hour; d *= 2 {
		tl.done(0, d)
	}
	m := tl.measured(loadEnd{elapsed: time.Second})
	assert.Greater(t, len(m.Histogram), 40)
	var text strings.Builder
	m.print(&text, "calls")
	assert.LessOrEqual(t, strings.Count(text.String(), "<="), 30)
	for line := range strings.Lines(text.String()) {
		assert.LessOrEqual(t, len(line), 100)
	}
}

func TestFailuresAreCountedByCodeTheMostFirst(t *testing.T) {
	tl := newTally(3)
	for i := range 5 {
		tl.fail(i, abstract.Errorf(abstract.Timeout, "slow"))
	}
	tl.fail(1, context.Canceled)
	m := tl.measured(loadEnd{elapsed: time.Second, unsent: 7, unfinished: 2})
	require.Len(t, m.Errors, 2)
	assert.Equal(t, failureOutput{abstract.Timeout, "timeout", 5, "timeout: slow"}, m.Errors[0])
	assert.Equal(t, abstract.Cancelled, m.Errors[1].RCode)
	assert.EqualValues(t, 6, m.Failed)
	assert.Nil(t, m.Latency)
	var text strings.Builder
	m.print(&text, "calls")
	assert.Contains(t, text.String(), "5 failed: timeout (rcode 16), such as: timeout: slow")
	assert.Contains(t, text.String(), "7 more were due")
	assert.Contains(t, text.String(), "2 were under way")
}

func TestNumbersHaveThreeDigitsAndAUnit(t *testing.T) {
	for us, want := range map[float64]string{
		0.512: "0.51 us", 9.99: "9.99 us", 9.996: "10.0 us", 150: "150 us", 999.6: "1.00 ms", 1500: "1.50 ms", 70_000: "70.0 ms", 999_600: "1.00 s", 5e7: "50.0 s", 7.2e9: "7200 s",
	} {
		assert.Equal(t, want, inUnits(us))
	}
}

func TestMessagesOfTheBenchHaveTheirSizeAndSayWhenTheyWereDue(t *testing.T) {
	for _, size := range []int{minBenchSize, 128, 1 << 20} {
		text := dueText(size, 90*time.Second)
		assert.Len(t, text, size)
		due, ok := dueOf(text)
		assert.True(t, ok)
		assert.Equal(t, 90*time.Second, due)
	}
	for _, other := range []string{`"end"`, `{}`, `"` + strings.Repeat("x", 40) + `"`} {
		_, ok := dueOf([]byte(other))
		assert.False(t, ok, other)
	}
}

func TestInParallelStopsAtAnError(t *testing.T) {
	boom := errors.New("boom")
	assert.ErrorIs(t, inParallel(1000, func(i int) error {
		if i == 500 {
			return boom
		}
		return nil
	}), boom)
	seen := make([]bool, 100)
	require.NoError(t, inParallel(100, func(i int) error { seen[i] = true; return nil }))
	assert.NotContains(t, seen, false)
}

func TestProgressOfOperationsShowsNoBytes(t *testing.T) {
	line := render(progressOf{done: 1, total: 4, noBytes: true, items: 12, note: "3/s"}, "calls", 2*time.Second)
	assert.Equal(t, "[=====               ]  25%  12 calls  2s  3/s", strings.TrimSpace(line))
}

func TestProcessorTimeOfTheProcessGrows(t *testing.T) {
	before := processCPU()
	for deadline := time.Now().Add(patience); processCPU() == before; {
		require.True(t, time.Now().Before(deadline))
	}
	assert.Greater(t, processCPU(), before)
}
