package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"trefoil/abstract"
)

// measuredOutput is what was measured of one kind of operation, for programs.
type measuredOutput struct {
	Operations int64           `json:"operations"` // that succeeded; the histogram's counts add up to them
	Failed     int64           `json:"failed"`
	Unfinished int64           `json:"unfinished"` // ended by the interrupt
	Unsent     int64           `json:"unsent"`     // due by --rate and not begun: more than could be done
	Seconds    float64         `json:"seconds"`    // until the last operation had ended
	PerSecond  float64         `json:"per_second"` // operations
	Latency    *latencyOutput  `json:"latency,omitempty"`
	Histogram  []stepOutput    `json:"histogram"`
	Errors     []failureOutput `json:"errors"`
}

// latencyOutput is latency in microseconds.
type latencyOutput struct {
	Mean float64 `json:"mean_us"`
	P50  float64 `json:"p50_us"`
	P90  float64 `json:"p90_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p99_9_us"`
	Max  float64 `json:"max_us"`
}

// stepOutput counts the operations that took longer than the step before and no
// longer than this one.
type stepOutput struct {
	UpTo  float64 `json:"up_to_us"`
	Count int64   `json:"count"`
}

// failureOutput counts the operations that failed with one code.
type failureOutput struct {
	RCode   abstract.RCode `json:"rcode"`
	Code    string         `json:"code"`
	Count   int64          `json:"count"`
	Example string         `json:"example"` // the first one's message
}

// cpuOutput is what the bench itself took of the processor.
type cpuOutput struct {
	Seconds float64 `json:"seconds"`
	Cores   float64 `json:"cores"` // how many it kept busy
}

// cpuClock measures it.
type cpuClock struct {
	begun time.Time
	spent time.Duration
}

func startCPU() cpuClock { return cpuClock{time.Now(), processCPU()} }

func (c cpuClock) stop() cpuOutput {
	spent, passed := (processCPU() - c.spent).Seconds(), time.Since(c.begun).Seconds()
	return cpuOutput{Seconds: spent, Cores: spent / passed}
}

// measured puts together what a load's tally has.
func (t *tally) measured(end loadEnd) *measuredOutput {
	all, failed := t.sum()
	m := &measuredOutput{
		Operations: all.TotalCount(), Unfinished: end.unfinished, Unsent: end.unsent, Seconds: end.elapsed.Seconds(),
		PerSecond: float64(all.TotalCount()) / end.elapsed.Seconds(),
		Histogram: steps(all, fineSteps), Errors: []failureOutput{},
	}
	if m.Operations > 0 {
		m.Latency = latencies(all)
	}
	for code, f := range failed {
		m.Failed += f.count
		m.Errors = append(m.Errors, failureOutput{code, code.String(), f.count, oneLine(f.example.Error())})
	}
	slices.SortFunc(m.Errors, func(a, b failureOutput) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.RCode, b.RCode))
	})
	return m
}

func latencies(h *hdrhistogram.Histogram) *latencyOutput {
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	at := func(percent float64) float64 { return us(h.ValueAtPercentile(percent)) }
	return &latencyOutput{Mean: h.Mean() / 1e3, P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: us(h.Max())}
}

// The steps of a histogram in each power of ten.
var (
	fineSteps   = []float64{1, 1.5, 2, 3, 5, 7}
	coarseSteps = []float64{1, 2, 5}
)

// steps counts in steps, from the first that has something to the last.
func steps(h *hdrhistogram.Histogram, inTen []float64) []stepOutput {
	list := []stepOutput{}
	power, next := 1.0, 0
	count := int64(0)
	for _, b := range h.Distribution() {
		// A bar is narrower than any step, and counts by its lower end.
		for float64(b.From) > inTen[next]*power*1e3 {
			if count > 0 || len(list) > 0 {
				list = append(list, stepOutput{inTen[next] * power, count})
				count = 0
			}
			if next++; next == len(inTen) {
				next, power = 0, power*10
			}
		}
		count += b.Count
	}
	if count > 0 {
		list = append(list, stepOutput{inTen[next] * power, count})
	}
	for len(list) > 0 && list[len(list)-1].Count == 0 {
		list = list[:len(list)-1]
	}
	return list
}

// coarser puts steps together when there are too many for a screen.
func coarser(list []stepOutput) []stepOutput {
	const fits = 20
	if len(list) <= fits {
		return list
	}
	var out []stepOutput
	count := int64(0)
	for _, st := range list {
		count += st.Count
		if digit := leading(st.UpTo); slices.Contains(coarseSteps, digit) {
			out = append(out, stepOutput{st.UpTo, count})
			count = 0
		}
	}
	if count > 0 {
		out = append(out, stepOutput{list[len(list)-1].UpTo, count})
	}
	return out
}

// leading is what stands before the power of ten: 1.5 of 150.
func leading(x float64) float64 {
	for x >= 10 {
		x /= 10
	}
	return x
}

// print writes the figures and the histogram for people. what names the
// operations: "calls".
func (m *measuredOutput) print(w io.Writer, what string) {
	fmt.Fprintf(w, "%d %s in %.1f s, %s/s\n", m.Operations, what, m.Seconds, perSecond(m.PerSecond))
	if l := m.Latency; l != nil {
		fmt.Fprintf(w, "latency  p50 %s  p90 %s  p99 %s  p99.9 %s  max %s\n\n", inUnits(l.P50), inUnits(l.P90), inUnits(l.P99), inUnits(l.P999), inUnits(l.Max))
		m.printHistogram(w)
	}
	m.printProblems(w)
}

// printProblems writes what did not succeed.
func (m *measuredOutput) printProblems(w io.Writer) {
	for _, e := range m.Errors {
		fmt.Fprintf(w, "%d failed: %s (rcode %d), such as: %s\n", e.Count, e.Code, e.RCode, e.Example)
	}
	if m.Unsent > 0 {
		fmt.Fprintf(w, "%d more were due and did not begin: so many a second could not be done\n", m.Unsent)
	}
	if m.Unfinished > 0 {
		fmt.Fprintf(w, "%d were under way at the interrupt\n", m.Unfinished)
	}
}

func (m *measuredOutput) printHistogram(w io.Writer) {
	const width = 40
	list := coarser(m.Histogram)
	var most int64
	for _, st := range list {
		most = max(most, st.Count)
	}
	for _, st := range list {
		cells := int(st.Count * width / most)
		if st.Count > 0 && cells == 0 {
			cells = 1
		}
		line := fmt.Sprintf("  <= %7s  %-*s %7.3f %%  %d", inUnits(st.UpTo), width, strings.Repeat("#", cells), 100*float64(st.Count)/float64(m.Operations), st.Count)
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
}

// print writes it for people. whose is what runs in this process.
func (c cpuOutput) print(w io.Writer, whose string) {
	fmt.Fprintf(w, "this process (%s) took %.2f s of processor time, %.2f cores\n", whose, c.Seconds, c.Cores)
}

// inUnits is a number of microseconds with three digits and its unit.
func inUnits(us float64) string {
	switch {
	case us < 999.5:
		return digits(us) + " us"
	case us < 999.5e3:
		return digits(us/1e3) + " ms"
	}
	return digits(us/1e6) + " s"
}

// digits is x with three digits, or more when it has more before the point.
func digits(x float64) string {
	switch {
	case x < 9.995:
		return fmt.Sprintf("%.2f", x)
	case x < 99.95:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

func perSecond(x float64) string { return digits(x) }

// writeReport writes a bench's outcome: one JSON object, or text for people.
func (a *app) writeReport(s *settings, v any, print func(io.Writer)) error {
	if s.json {
		return writeJSON(a.stdout, v)
	}
	var b strings.Builder
	print(&b)
	if _, err := io.WriteString(a.stdout, b.String()); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// nothingDone is the error of a bench of which nothing succeeded. Programs have
// the report already.
func nothingDone(what string, of ...*measuredOutput) error {
	err := fmt.Errorf("no %s was made in the time given; --duration makes it longer", what)
	for _, m := range slices.Backward(of) {
		if m.Operations > 0 {
			return nil
		}
		if len(m.Errors) > 0 {
			err = fmt.Errorf("no %s succeeded; the first error: %s", what, m.Errors[0].Example)
		}
	}
	return &reportedError{err}
}
