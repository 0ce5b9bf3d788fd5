package harness

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Scale says how large a run is.
type Scale string

// The scales. Smoke is for tests: a few operations of everything.
const (
	Full   Scale = "full"
	Medium Scale = "medium" // all tables in about 20 minutes
	Quick  Scale = "quick"  // under a minute for a table
	Smoke  Scale = "smoke"
)

// Options are the flags that all tables have.
type Options struct {
	Rounds  int
	Seconds float64 // measured interval of one cell of one contestant in one round
	WarmUp  float64 // seconds before it
	Scale   Scale
	Only    *regexp.Regexp // contestants; nil: all
	Cells   *regexp.Regexp // cells; nil: all
	Rates   []float64      // shares of the measured peak, in percent, for fixed-rate loads; nil: none
	Slow    float64        // percent of requests that take 5 ms
	Out     string         // directory of the results
	Limit   time.Duration  // no measurement begins later than this after the table's start

	tracing bool // where time goes is all that is wanted
}

// Interval is Seconds as a duration.
func (o Options) Interval() time.Duration { return time.Duration(o.Seconds * float64(time.Second)) }

// WarmUpTime is WarmUp as a duration.
func (o Options) WarmUpTime() time.Duration { return time.Duration(o.WarmUp * float64(time.Second)) }

// Pick chooses a size by the scale of the run; a medium run has full sizes.
func (o Options) Pick(full, quick, smoke int) int {
	switch o.Scale {
	case Quick:
		return quick
	case Smoke:
		return smoke
	}
	return full
}

// RatesOf are the shares of its peak at which a cell is measured again: those of
// --rate, or for the table's most telling cell some by default.
func (o Options) RatesOf(cell, telling string) []float64 {
	if len(o.Rates) > 0 || o.tracing || cell != telling {
		return o.Rates
	}
	switch o.Scale {
	case Full, Medium:
		return []float64{25, 50, 75}
	case Smoke:
		return []float64{50}
	}
	return nil
}

// ParseOptions reads a table's command line.
func ParseOptions(t Table, args []string, stderr io.Writer) (Options, error) {
	fs := flag.NewFlagSet("bench "+t.Name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	rounds := fs.Int("rounds", cmp.Or(t.Rounds, 5), "rounds; each contestant runs once in each")
	seconds := fs.Float64("seconds", 1, "measured `seconds` of one cell of one contestant in one round")
	warmUp := fs.Float64("warmup", 0.3, "`seconds` of load before the measured interval")
	medium := fs.Bool("medium", false, "three short rounds of what the budgets need, in full sizes: all tables in about 20 minutes")
	quick := fs.Bool("quick", false, "one short round of the most telling cells: under a minute")
	smoke := fs.Bool("smoke", false, "a few operations of everything, to see that it runs")
	only := fs.String("only", "", "contestants that match this `regexp`")
	cells := fs.String("cells", "", "cells that match this `regexp`")
	rates := fs.String("rate", "", "also measure latency at these `percentages` of each contestant's peak: 25,50,75")
	limit := fs.Duration("limit", time.Hour, "no measurement of the table begins later than this after its start")
	slow := fs.Float64("slow", 0, "`percent` of the requests that take 5 ms in their handler")
	out := fs.String("out", "results", "`directory` for the results")
	if t.Flags != nil {
		t.Flags(fs)
	}
	if err := fs.Parse(args); err != nil {
		return Options{}, err
	}
	if fs.NArg() > 0 {
		return Options{}, fmt.Errorf("%s takes flags only, not %q", t.Name, fs.Arg(0))
	}
	o := Options{Rounds: *rounds, Seconds: *seconds, WarmUp: *warmUp, Scale: Full, Slow: *slow, Out: *out, Limit: *limit}
	given := make(map[string]bool)
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case *smoke:
		o.preset(Smoke, 1, 0.05, 0.02, given)
	case *quick:
		o.preset(Quick, 1, 0.3, 0.1, given)
	case *medium:
		o.preset(Medium, 3, 0.5, 0.2, given)
	}
	if o.Rounds < 1 || o.Seconds <= 0 || o.Limit <= 0 || o.WarmUp < 0 || o.Slow < 0 || o.Slow > 100 {
		return Options{}, fmt.Errorf("%s needs at least one round, positive seconds and limit, and 0 to 100 percent of slow requests", t.Name)
	}
	var err error
	if o.Only, err = pattern(*only); err != nil {
		return Options{}, err
	}
	if o.Cells, err = pattern(*cells); err != nil {
		return Options{}, err
	}
	o.Rates, err = percentages(*rates)
	return o, err
}

// preset makes a run smaller, but for what was given by flags.
func (o *Options) preset(scale Scale, rounds int, seconds, warmUp float64, given map[string]bool) {
	o.Scale = scale
	if !given["rounds"] {
		o.Rounds = rounds
	}
	if !given["seconds"] {
		o.Seconds = seconds
	}
	if !given["warmup"] {
		o.WarmUp = warmUp
	}
}

func pattern(s string) (*regexp.Regexp, error) {
	if s == "" {
		return nil, nil
	}
	return regexp.Compile(s)
}

func percentages(s string) ([]float64, error) {
	if s == "" {
		return nil, nil
	}
	var list []float64
	for f := range strings.SplitSeq(s, ",") {
		p, err := strconv.ParseFloat(strings.TrimSpace(f), 64)
		if err != nil || p <= 0 || p > 200 {
			return nil, fmt.Errorf("%q is no percentage of the peak; give some like 25,50,75", f)
		}
		list = append(list, p)
	}
	return list, nil
}
