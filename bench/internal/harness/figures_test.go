package harness

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHistogramQuantilesAreGoodToTheirStep(t *testing.T) {
	var h Histogram
	for i := 1; i <= 100_000; i++ {
		h.Record(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{0.5, 0.99, 0.999} {
		want := q * 100_000 * float64(time.Microsecond)
		assert.InEpsilon(t, want, float64(h.Quantile(q)), 0.017, "%v", q)
	}
	assert.Equal(t, 100*time.Millisecond, h.Max())
	assert.EqualValues(t, 100_000, h.Count())
}

func TestHistogramTakesAnyDuration(t *testing.T) {
	for _, d := range []time.Duration{-1, 0, 1, 63, 64, 65, 127, 128, 1 << 40, 1<<63 - 1} {
		var h Histogram
		h.Record(d)
		want := max(d, 0)
		got := h.Quantile(0.5)
		assert.LessOrEqual(t, got, want)
		assert.GreaterOrEqual(t, float64(got), 0.98*float64(want), "%d", d)
	}
}

func TestHistogramSurvivesJSONAndAdds(t *testing.T) {
	var a, b, sum Histogram
	a.Record(time.Millisecond)
	b.Record(time.Second)
	text, err := json.Marshal(&a)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &sum))
	sum.Add(&b)
	assert.EqualValues(t, 2, sum.Count())
	assert.Equal(t, time.Second, sum.Max())
	assert.InEpsilon(t, float64(time.Millisecond), float64(sum.Quantile(0)), 0.017)
}

func TestEmptyHistogramGivesNoFigures(t *testing.T) {
	s := Sample{}
	(&Histogram{}).Figures(s)
	assert.Empty(t, s)
	assert.Zero(t, (&Histogram{}).Quantile(0.5))
}

func TestPaceMeetsEveryDueTime(t *testing.T) {
	var last int64
	n := Pace(t.Context(), 10_000, 20*time.Millisecond, func(due int64) {
		assert.Greater(t, due, last)
		assert.LessOrEqual(t, due, Monotonic(), "never early")
		last = due
	})
	assert.Equal(t, 200, n)
}

func TestScheduleGivesOutWhatWasDueDuringAStall(t *testing.T) {
	s := NewSchedule(1)
	defer s.Close()
	s.begin -= int64(10 * time.Second)
	n := 0
	for {
		due, late, ok := s.Next(func(due int64) bool { return due > Monotonic() })
		if !ok {
			break
		}
		assert.Equal(t, s.begin+int64(n)*int64(time.Second), due)
		assert.Negative(t, late, "nobody has waited for it")
		n++
	}
	assert.GreaterOrEqual(t, n, 11)
}

func TestScheduleGivesOutEveryOperationOnce(t *testing.T) {
	const operations = 2000
	s := NewSchedule(100_000)
	defer s.Close()
	last := s.begin + int64(operations*s.step) - 1
	var mu sync.Mutex
	seen := make(map[int64]int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				due, _, ok := s.Next(func(due int64) bool { return due > last })
				if !ok {
					return
				}
				mu.Lock()
				seen[due]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	assert.Len(t, seen, operations)
	for _, n := range seen {
		require.Equal(t, 1, n)
	}
}

func TestPaceEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := Pace(ctx, 1000, time.Hour, func(int64) { cancel() })
	assert.Less(t, n, 10)
}

func TestStat(t *testing.T) {
	assert.Equal(t, Stat{}, NewStat(nil))
	assert.Equal(t, Stat{Median: 3, Q1: 3, Q3: 3, Min: 3, Max: 3, N: 1}, NewStat([]float64{3}))
	assert.Equal(t, Stat{Median: 2.5, Q1: 1.75, Q3: 3.25, Min: 1, Max: 4, N: 4}, NewStat([]float64{4, 1, 3, 2}))
}

// sampleResult has a floor, ours and two peers in one cell.
func sampleResult() (Table, *Result) {
	table := fake()
	table.Contestants = append(table.Contestants, Contestant{"other", Peer})
	table.Charts = []Chart{{File: "fake", Title: "a <chart>", Cells: []string{"cell", "nothing"}}}
	res := &Result{Table: "fake", Rounds: 2}
	for name, values := range map[string][]float64{"floor": {100, 200}, "ours": {50, 150}, "peer": {10, 20}, "other": {40, 30}} {
		kind := map[string]Kind{"floor": Floor, "ours": Ours}[name]
		if kind == "" {
			kind = Peer
		}
		row := res.row("cell", Contestant{name, kind})
		for i, v := range values {
			row.keep(i, Sample{FigRate: v, FigP50: 1000 / v})
		}
	}
	res.finish(table)
	return table, res
}

func TestRatiosArePairedRoundByRound(t *testing.T) {
	_, res := sampleResult()
	ours := res.Row("cell", "ours")
	assert.Equal(t, NewStat([]float64{0.5, 0.75}), ours.OfFloor[FigRate])
	assert.Equal(t, NewStat([]float64{50.0 / 40, 150.0 / 30}), ours.OfBest[FigRate], "against the peer with the best median")
	assert.Equal(t, "other", res.BestPeer("cell", FigRate, true))
	assert.Equal(t, "peer", res.BestPeer("cell", FigRate, false))
}

func TestRatioWithoutOneSideIsMissing(t *testing.T) {
	_, res := sampleResult()
	_, ok := res.Ratio("cell", "ours", "cell", "nobody", FigRate)
	assert.False(t, ok)
	_, ok = res.Ratio("cell", "ours", "cell", "peer", "nothing")
	assert.False(t, ok)
}

func TestRowsStandInTheTablesOrder(t *testing.T) {
	_, res := sampleResult()
	var names []string
	for _, row := range res.Rows {
		names = append(names, row.Contestant)
	}
	assert.Equal(t, []string{"floor", "ours", "peer", "other"}, names)
}

func TestBudgetsAreHeldAgainstTheirTable(t *testing.T) {
	res := &Result{Table: "rpc"}
	floor, ours := res.row("64x16 128B", Contestant{"floor-net", Floor}), res.row("64x16 128B", Contestant{"trefoil", Ours})
	nats := res.row("64x16 128B", Contestant{"nats", Peer})
	floor.keep(0, Sample{FigCPU: 4})
	ours.keep(0, Sample{FigCPU: 6, FigRate: 300})
	nats.keep(0, Sample{FigRate: 100})
	verdicts := judge(res)
	find := func(work, budget string) Verdict {
		for _, v := range verdicts {
			if strings.HasPrefix(v.Work, work) && strings.Contains(v.Budget, budget) {
				return v
			}
		}
		require.Fail(t, "no such budget", "%s %s", work, budget)
		return Verdict{}
	}
	missed := find("echo 128 B, 64 in flight", "floor")
	assert.False(t, missed.Held)
	assert.InDelta(t, 1.5, missed.Measured, 1e-9)
	assert.Equal(t, "missed by 11.1 %", missed.verdict())
	held := find("calls/s, 64 in flight", "NATS")
	assert.True(t, held.Held, "a limit reached exactly is reached")
	assert.Equal(t, "reached", held.verdict())
	assert.Equal(t, "not measured in this run", find("1 in flight, p50", "fasthttp").verdict())
}

func TestEveryBudgetHasATableAndAMeasure(t *testing.T) {
	for _, b := range budgets {
		assert.NotEmpty(t, b.work)
		assert.NotEmpty(t, b.unit)
		assert.GreaterOrEqual(t, b.limit, 0.0, b.work)
		_, missing := b.measure(&Result{})
		assert.NotEmpty(t, missing, "%s: an empty result has nothing", b.work)
	}
}

func TestNumbersAreReadable(t *testing.T) {
	for want, v := range map[string]float64{"0": 0, "0.0312": 0.0312, "1.35": 1.35, "12.3": 12.34, "123": 123.4, "1,234": 1234.4, "1,234,567": 1234567, "-12,345": -12345} {
		assert.Equal(t, want, number(v))
	}
}

func TestOptionsGivenByHandWinOverPresets(t *testing.T) {
	o, err := ParseOptions(fake(), []string{"--quick", "--seconds", "2", "--rate", "25, 50"}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, Quick, o.Scale)
	assert.Equal(t, 1, o.Rounds)
	assert.InDelta(t, 2, o.Seconds, 0)
	assert.Equal(t, []float64{25, 50}, o.Rates)
}

func TestBadOptionsAreRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"no rounds":   {"--rounds", "0"},
		"no time":     {"--seconds", "0"},
		"bad rate":    {"--rate", "fast"},
		"bad pattern": {"--only", "("},
		"argument":    {"nonsense"},
		"slow":        {"--slow", "101"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseOptions(fake(), args, io.Discard)
			assert.Error(t, err)
		})
	}
}

func TestChartIsWellFormed(t *testing.T) {
	table, res := sampleResult()
	svg := table.Charts[0].SVG(table, res)
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	for _, want := range []string{"a &lt;chart&gt;", ">ours<", "@media(prefers-"} {
		assert.Contains(t, svg, want)
	}
	assert.Empty(t, Chart{Title: "t", Cells: []string{"nothing"}}.SVG(table, res))
}
