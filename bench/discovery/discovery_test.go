package discovery

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/bench/internal/harness"
)

func TestRegistriesTellWatchersWhoComesAndGoes(t *testing.T) {
	for _, r := range Registries() {
		t.Run(r.Name, func(t *testing.T) {
			served, err := r.Serve(t.Context(), nil)
			if err != nil {
				t.Skip(err)
			}
			defer served.Stop()
			watcher, err := r.Dial(t.Context(), served.Addr, Patient)
			require.NoError(t, err)
			defer func() { _ = watcher.Close(t.Context()) }()
			require.NoError(t, watcher.Prepare(t.Context(), watched))
			changes := make(chan change, 16)
			require.NoError(t, watcher.Watch(t.Context(), watched, func(port int, online bool) { changes <- change{port, online} }))

			for port := firstPort; port < firstPort+3; port++ { // more than once: a watch may fire once only
				provider, err := r.Dial(t.Context(), served.Addr, Impatient)
				require.NoError(t, err)
				require.NoError(t, provider.Register(t.Context(), watched, port))
				assert.Equal(t, change{port, true}, <-changes)
				n, err := watcher.Lookup(t.Context(), watched)
				require.NoError(t, err)
				assert.Equal(t, 1, n)
				require.NoError(t, provider.Close(t.Context()))
				assert.Equal(t, change{port, false}, <-changes)
			}
		})
	}
}

func TestArrivalsAreCompleteWhenEverybodyHasReported(t *testing.T) {
	w := newWatchers(2)
	a := w.expect(7, true)
	w.told(7, false) // another change, which nobody expects
	w.told(7, true)
	select {
	case <-a.all:
		assert.Fail(t, "one of two has reported")
	default:
	}
	w.told(7, true)
	w.told(7, true) // a third report changes nothing
	first, last, err := a.wait(t.Context(), "a change")
	require.NoError(t, err)
	assert.Positive(t, first)
	assert.GreaterOrEqual(t, last, first)
}

func TestBatchesAreWeightedByTheirOperations(t *testing.T) {
	var sum total
	sum.add(harness.Sample{harness.FigOps: 100, harness.FigSeconds: 1, harness.FigCPU: 10})
	sum.add(harness.Sample{harness.FigOps: 300, harness.FigSeconds: 1, harness.FigCPU: 2, harness.FigPeakServer: 5})
	s := sum.sample()
	assert.Equal(t, 200.0, s[harness.FigRate])
	assert.Equal(t, 4.0, s[harness.FigCPU])
	assert.Equal(t, 5.0, s[harness.FigPeakServer], "what is no sum is the last one's")
}

func TestChildrenAreComparedByName(t *testing.T) {
	var got []change
	tell := func(port int, online bool) { got = append(got, change{port, online}) }
	tellDifference(setOf([]string{"127.0.0.1:1", "127.0.0.1:2"}), setOf([]string{"127.0.0.1:2", "127.0.0.1:3", "odd"}), tell)
	slices.SortFunc(got, func(a, b change) int { return a.port - b.port })
	assert.Equal(t, []change{{1, false}, {3, true}}, got)
}

func TestEveryCellOfTheBudgetsIsMeasured(t *testing.T) {
	var names []string
	for _, c := range cellsOf(harness.Options{Scale: harness.Full}) {
		names = append(names, c.name)
	}
	assert.Subset(t, names, []string{"look-ups", "registrations", "told to 1", "told to 1000", "memory of 10000 sessions"})
}
