package harness

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSummaryHoldsAllTablesAgainstTheirBudgets(t *testing.T) {
	dir := t.TempDir()
	res := &Result{Table: "idle", Command: "go run . idle", Date: time.Date(2020, 1, 2, 3, 4, 0, 0, time.UTC), Scale: Full}
	ours := Contestant{"trefoil", Ours}
	res.row("connections", ours).keep(0, Sample{FigPerConn: 4})
	res.row("sessions", ours).keep(0, Sample{FigPerConn: 16})
	_, err := res.Save(dir)
	require.NoError(t, err)
	var out bytes.Buffer
	tables := []Table{{Name: "mixed"}, {Name: "idle"}}
	require.NoError(t, Summarise(tables, []string{"--results", dir}, &out, io.Discard))
	for _, want := range []string{
		"1 reached, 1 not reached, 6 not measured",
		"| idle | memory per idle connection after traffic | <= 4.5 KiB | 4 | reached |",
		"| 16 | missed by 100 % |",
		"- mixed: no results",
		"- idle: `go run . idle`, 2020-01-02 03:04 UTC",
	} {
		assert.Contains(t, out.String(), want)
	}
	file, err := os.ReadFile(filepath.Join(dir, budgetsFile))
	require.NoError(t, err)
	assert.Contains(t, out.String(), string(file))
}

func TestSmallRunsReachNothing(t *testing.T) {
	res := &Result{Table: "idle", Scale: Quick}
	res.row("connections", Contestant{"trefoil", Ours}).keep(0, Sample{FigPerConn: 4})
	res.Budgets = judge(res)
	assert.Equal(t, "reached, in a small run", res.Budgets[0].verdict())
	assert.Contains(t, summary([]*Result{res}), "0 reached, 0 not reached")
}

func TestGrowthIsPairedRoundByRound(t *testing.T) {
	r := newFakeRunner(t)
	ours := Contestant{"ours", Ours}
	r.Result.row("small", ours).keep(0, Sample{FigCPU: 2})
	r.Result.row("small", ours).keep(1, Sample{FigCPU: 4})
	r.Result.row("large", ours).keep(0, Sample{FigCPU: 3})
	r.Result.row("large", ours).keep(1, Sample{FigCPU: 4})
	r.Result.row("large", Contestant{"peer", Peer}).keep(0, Sample{FigCPU: 3})
	r.Growth("growth", "small", "large", FigCPU)
	assert.Equal(t, []Sample{
		{FigGrowth: 1.5, FigGrowthFrom: 2, FigGrowthTo: 3},
		{FigGrowth: 1, FigGrowthFrom: 4, FigGrowthTo: 4},
	}, r.Result.Row("growth", "ours").Samples)
	assert.Nil(t, r.Result.Row("growth", "peer"), "it was measured in one of the cells only")
}

func TestNothingBeginsAfterTheLimit(t *testing.T) {
	r := newFakeRunner(t)
	r.Options.Limit, r.started = time.Minute, time.Now().Add(-time.Hour)
	measured := func(cell string) error {
		return r.Rounds(t.Context(), cell, func(context.Context, string) (Sample, error) { return nil, errors.New("it was measured") })
	}
	require.NoError(t, measured("cell"))
	require.NoError(t, measured("another"))
	assert.Empty(t, r.Result.Rows)
	assert.Len(t, r.Result.Notes, 1, "the results say so, once")
}

func TestTellingCellsHaveFixedRates(t *testing.T) {
	for name, tt := range map[string]struct {
		options Options
		cell    string
		want    []float64
	}{
		"full run":       {Options{Scale: Full}, "telling", []float64{25, 50, 75}},
		"another cell":   {Options{Scale: Full}, "cell", nil},
		"quick run":      {Options{Scale: Quick}, "telling", nil},
		"asked for":      {Options{Scale: Quick, Rates: []float64{10}}, "cell", []float64{10}},
		"profiling":      {Options{Scale: Full, tracing: true}, "telling", nil},
		"medium run":     {Options{Scale: Medium}, "telling", []float64{25, 50, 75}},
		"given in place": {Options{Scale: Full, Rates: []float64{10}}, "telling", []float64{10}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, tt.options.RatesOf(tt.cell, "telling")) })
	}
}

func TestMediumHasFullSizes(t *testing.T) {
	o, err := ParseOptions(fake(), []string{"--medium"}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, Medium, o.Scale)
	assert.Equal(t, 3, o.Rounds)
	assert.Equal(t, 10_000, o.Pick(10_000, 100, 1))
}

func TestStraceCountsAreRead(t *testing.T) {
	const table = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000300           3       100        20 read
 40.00    0.000200           2        50           write
------ ----------- ----------- --------- --------- ----------------
100.00    0.000500           3       150        20 total
`
	assert.Equal(t, map[string]float64{"read": 100, "write": 50}, straceCounts(table))
	assert.Empty(t, straceCounts(""))
}
