package rpc

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/bench/internal/harness"
)

func TestWholeFramesStopsAtTheUnfinishedOne(t *testing.T) {
	two := appendFrame(appendFrame(nil, 1, []byte("one")), 2, []byte("two"))
	for cut := range len(two) + 1 {
		n, err := wholeFrames(two[:cut])
		require.NoError(t, err)
		want := 0
		switch {
		case cut == len(two):
			want = len(two)
		case cut >= len(two)/2:
			want = len(two) / 2
		}
		assert.Equal(t, want, n, "of %d bytes", cut)
	}
}

func TestWholeFramesRefusesAbsurdLengths(t *testing.T) {
	for name, b := range map[string]string{
		"too short": "\x00\x00\x00\x03\x00\x00\x00\x01",
		"too long":  "\xff\xff\xff\xff\x00\x00\x00\x01",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wholeFrames([]byte(b))
			assert.Error(t, err)
		})
	}
}

func TestPayloadHasItsSizeAndNoticesAnotherEcho(t *testing.T) {
	p := newPayload(128, fastMark)
	assert.Len(t, p.text, 128)
	require.NoError(t, p.check(p.text))
	require.NoError(t, p.checkBytes(p.bytes))
	assert.Error(t, p.check(strings.ToUpper(p.text)))
	assert.Error(t, p.checkBytes(p.bytes[1:]))
}

func TestFloorClientMultiplexesAndNoticesItsEnd(t *testing.T) {
	for _, c := range floors() {
		t.Run(c.name, func(t *testing.T) {
			served, err := c.serve(t.Context(), serveSpec{})
			require.NoError(t, err)
			defer served.Stop()
			cl, err := c.dial(t.Context(), served.Addr)
			require.NoError(t, err)
			p := newPayload(100, fastMark)
			ended := make(chan error, 8)
			for range cap(ended) {
				go func() { ended <- callMany(t.Context(), cl, p, 1000) }()
			}
			for range cap(ended) {
				assert.NoError(t, <-ended)
			}
			cl.Close()
			assert.Error(t, cl.Call(t.Context(), p))
		})
	}
}

func callMany(ctx context.Context, cl caller, p payload, n int) error {
	for range n {
		if err := cl.Call(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func TestSlotsMixInTheirShareOfSlowCalls(t *testing.T) {
	d := &driver{
		spec: loadSpec{InFlight: 1, Conns: 1, Shared: 1, Slow: 10}, fast: newPayload(128, fastMark), slow: newPayload(128, slowMark),
		clients: []caller{nil}, counts: make([]counter, 1), latencies: []*harness.Histogram{{}},
	}
	s := d.slot(0)
	slow := 0
	for range 10_000 {
		if s.next().text[0] == slowMark {
			slow++
		}
	}
	assert.InDelta(t, 1000, slow, 150)
	assert.EqualValues(t, 1, s.sampling, "every call is timed when some are slow")
}

func TestLoadEndsWithItsContext(t *testing.T) {
	c, ok := find("trefoil-func")
	require.True(t, ok)
	served, err := c.serve(t.Context(), serveSpec{})
	require.NoError(t, err)
	defer served.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	spec, err := json.Marshal(loadSpec{InFlight: 4, Conns: 2, Size: 128, Interval: 1 << 40})
	require.NoError(t, err)
	_, err = c.load(ctx, &harness.Job{Spec: spec, Servers: []harness.Ready{{Addr: served.Addr}}})
	assert.Error(t, err)
}

func TestCellNamesAreThoseOfTheBudgets(t *testing.T) {
	for _, scale := range []harness.Scale{harness.Full, harness.Medium} {
		t.Run(string(scale), func(t *testing.T) {
			names := make(map[string]bool)
			for _, l := range cells(harness.Options{Scale: scale}) {
				assert.False(t, names[l.name()], "%s is there twice", l.name())
				names[l.name()] = true
			}
			for _, want := range []string{"1x1 128B", telling, "1000x16 128B", "64x16 1KiB", "1000x16 1KiB", "16x16 128B", "1000x1000 128B", "64x1 128B slow 10%"} {
				assert.Contains(t, names, want)
			}
		})
	}
}

func TestNoCellHasMoreInFlightThanAClientQueues(t *testing.T) {
	const queue = 32 << 20
	for _, scale := range []harness.Scale{harness.Full, harness.Medium, harness.Quick, harness.Smoke} {
		for _, l := range cells(harness.Options{Scale: scale}) {
			assert.Less(t, l.inFlight/l.conns*l.size, queue, l.name())
		}
	}
}

// echoes is a caller that counts.
type echoes struct {
	calls int
	then  func() // after a call; may be nil
}

// Call counts.
func (e *echoes) Call(context.Context, payload) error {
	e.calls++
	if e.then != nil {
		e.then()
	}
	return nil
}

// Close does nothing.
func (*echoes) Close() {}

// newPacing has one slot, and a call due every minute, the first of them now.
func newPacing(t *testing.T, cl caller) *pacing {
	d := &driver{
		spec: loadSpec{InFlight: 1, Conns: 1, Shared: 1}, fast: newPayload(128, fastMark),
		clients: []caller{cl}, counts: make([]counter, 1), latencies: []*harness.Histogram{{}},
	}
	p := &pacing{driver: d, due: harness.NewSchedule(1.0 / 60)}
	t.Cleanup(p.due.Close)
	return p
}

func TestPacedLatencyCountsFromWhenCallsWereDue(t *testing.T) {
	cl := &echoes{}
	p := newPacing(t, cl)
	begin := harness.Monotonic()
	cl.then = func() { p.stop.Store(true) }
	p.from.Store(begin - int64(time.Minute))
	p.serve(t.Context(), p.slot(0))
	assert.Equal(t, 1, cl.calls)
	assert.EqualValues(t, 1, p.latencies[0].Count())
	assert.LessOrEqual(t, p.latencies[0].Max(), time.Duration(harness.Monotonic()-begin)+time.Second)
}

func TestPacedCallsBeforeTheIntervalAreNotTimed(t *testing.T) {
	cl := &echoes{}
	p := newPacing(t, cl)
	cl.then = func() { p.stop.Store(true) }
	p.from.Store(harness.Monotonic() + 1)
	p.serve(t.Context(), p.slot(0))
	assert.Equal(t, 1, cl.calls)
	assert.Zero(t, p.latencies[0].Count())
}

func TestPacedLoadMakesNoCallsThatWereDueAfterItsInterval(t *testing.T) {
	cl := &echoes{}
	p := newPacing(t, cl)
	p.from.Store(1)
	p.to.Store(harness.Monotonic())
	p.serve(t.Context(), p.slot(0)) // ends, though the next call is due in a minute
	assert.Equal(t, 1, cl.calls)
	assert.EqualValues(t, 1, p.latencies[0].Count(), "what was due within it counts, however late it ends")
}

func TestCallsThatNeverStartCountWithTheirWait(t *testing.T) {
	cl := &echoes{}
	p := newPacing(t, cl)
	p.from.Store(1)
	p.to.Store(harness.Monotonic())
	p.giveUp.Store(true)
	p.serve(t.Context(), p.slot(0))
	assert.Zero(t, cl.calls)
	assert.EqualValues(t, 1, p.givenUp.Load())
	assert.EqualValues(t, 1, p.latencies[0].Count())
}

func TestTimingIsAsDenseForThoseWhoOpenMoreConnections(t *testing.T) {
	for name, conns := range map[string]int{"shared": 16, "a connection for each call": 64} {
		t.Run(name, func(t *testing.T) {
			d := &driver{spec: loadSpec{InFlight: 64, Conns: conns, Shared: 16, Size: 128}}
			assert.True(t, d.cheap())
		})
	}
}
