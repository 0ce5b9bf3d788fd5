package rpc

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

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
		spec: loadSpec{InFlight: 1, Conns: 1, Slow: 10}, fast: newPayload(128, fastMark), slow: newPayload(128, slowMark),
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
	names := make(map[string]bool)
	for _, l := range cells(harness.Options{Scale: harness.Full}) {
		assert.False(t, names[l.name()], "%s is there twice", l.name())
		names[l.name()] = true
	}
	for _, want := range []string{"1x1 128B", "64x16 128B", "1000x16 128B", "64x16 1KiB", "1000x16 1KiB", "16x16 128B", "1000x1000 128B", "64x1 128B slow 10%"} {
		assert.Contains(t, names, want)
	}
}
