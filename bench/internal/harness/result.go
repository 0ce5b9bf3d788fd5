package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Result is one run of one table: what the results file holds.
type Result struct {
	Table   string    `json:"table"`
	Command string    `json:"command"`
	Date    time.Time `json:"date"`
	Machine Machine   `json:"machine"`
	Go      string    `json:"go"`
	Modules []string  `json:"modules"` // path and version of everything linked in
	Scale   Scale     `json:"scale,omitempty"`
	Rounds  int       `json:"rounds"`
	Seconds float64   `json:"seconds"`
	Notes   []string  `json:"notes,omitempty"`
	Rows    []*Row    `json:"rows"`
	Budgets []Verdict `json:"budgets,omitempty"`
}

// Machine is where the run took place.
type Machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	MemoryMiB int    `json:"memory_mib"`
	Kernel    string `json:"kernel"`
	System    string `json:"system"`
	Load      string `json:"load"` // the load averages when the run began: was it quiet?
}

// Row is one contestant in one cell.
type Row struct {
	Cell       string          `json:"cell"`
	Contestant string          `json:"contestant"`
	Kind       Kind            `json:"kind"`
	Skipped    string          `json:"skipped,omitempty"` // why it could not run here
	Failed     string          `json:"failed,omitempty"`  // the last failure; there may be good rounds too
	Figures    map[string]Stat `json:"figures,omitempty"`
	OfFloor    map[string]Stat `json:"of_floor,omitempty"` // ratio to the floor in the same round
	OfBest     map[string]Stat `json:"of_best,omitempty"`  // ratio to the best peer in the same round
	Samples    []Sample        `json:"samples,omitempty"`  // by round; null where the round failed
}

// Stat is the distribution of a figure over the rounds.
type Stat struct {
	Median float64 `json:"median"`
	Q1     float64 `json:"q1"`
	Q3     float64 `json:"q3"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// NewStat makes the Stat of values; the zero Stat of none.
func NewStat(values []float64) Stat {
	if len(values) == 0 {
		return Stat{}
	}
	v := slices.Sorted(slices.Values(values))
	return Stat{Median: quantile(v, 0.5), Q1: quantile(v, 0.25), Q3: quantile(v, 0.75), Min: v[0], Max: v[len(v)-1], N: len(v)}
}

// quantile interpolates between the two nearest values.
func quantile(sorted []float64, q float64) float64 {
	pos := q * float64(len(sorted)-1)
	i := int(pos)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (pos-float64(i))*(sorted[i+1]-sorted[i])
}

// Row returns a contestant's row in a cell, or nil.
func (res *Result) Row(cell, contestant string) *Row {
	for _, row := range res.Rows {
		if row.Cell == cell && row.Contestant == contestant {
			return row
		}
	}
	return nil
}

// Cells returns the names of the cells, in the order measured.
func (res *Result) Cells() []string {
	var names []string
	for _, row := range res.Rows {
		if !slices.Contains(names, row.Cell) {
			names = append(names, row.Cell)
		}
	}
	return names
}

// Median returns the median of a figure over the rounds so far.
func (res *Result) Median(cell, contestant, figure string) (float64, bool) {
	row := res.Row(cell, contestant)
	if row == nil {
		return 0, false
	}
	s := row.stat(figure)
	return s.Median, s.N > 0
}

// Ratio returns the median over the rounds of a figure of one row divided by that
// of another.
func (res *Result) Ratio(cell, contestant, overCell, over, figure string) (Stat, bool) {
	a, b := res.Row(cell, contestant), res.Row(overCell, over)
	if a == nil || b == nil {
		return Stat{}, false
	}
	s := paired(a, b, figure)
	return s, s.N > 0
}

// BestPeer returns the peer with the best median of a figure in a cell; "" when
// there is none.
func (res *Result) BestPeer(cell, figure string, higher bool) string {
	best, name := 0.0, ""
	for _, row := range res.Rows {
		if row.Cell != cell || row.Kind != Peer {
			continue
		}
		s := row.stat(figure)
		if s.N > 0 && (name == "" || (s.Median > best) == higher) {
			best, name = s.Median, row.Contestant
		}
	}
	return name
}

func (res *Result) row(cell string, c Contestant) *Row {
	if row := res.Row(cell, c.Name); row != nil {
		return row
	}
	row := &Row{Cell: cell, Contestant: c.Name, Kind: c.Kind}
	res.Rows = append(res.Rows, row)
	return row
}

func (row *Row) keep(round int, s Sample) {
	for len(row.Samples) <= round {
		row.Samples = append(row.Samples, nil)
	}
	row.Samples[round] = s
}

func (row *Row) stat(figure string) Stat {
	var values []float64
	for _, s := range row.Samples {
		if v, ok := s[figure]; ok {
			values = append(values, v)
		}
	}
	return NewStat(values)
}

// paired compares two rows round by round, so that what slowed the whole machine
// down for a while slows both.
func paired(a, b *Row, figure string) Stat {
	var ratios []float64
	for i := range min(len(a.Samples), len(b.Samples)) {
		x, ok := a.Samples[i][figure]
		y, also := b.Samples[i][figure]
		if ok && also && y != 0 {
			ratios = append(ratios, x/y)
		}
	}
	return NewStat(ratios)
}

// finish orders the rows as the contestants stand in the table and computes what
// is derived from the samples.
func (res *Result) finish(t Table) {
	cells := res.Cells()
	place := func(row *Row) int {
		return slices.Index(cells, row.Cell)*1000 + slices.IndexFunc(t.Contestants, func(c Contestant) bool { return c.Name == row.Contestant })
	}
	slices.SortStableFunc(res.Rows, func(a, b *Row) int { return place(a) - place(b) })
	for _, row := range res.Rows {
		row.Figures = make(map[string]Stat)
		for _, s := range row.Samples {
			for k := range s {
				row.Figures[k] = row.stat(k)
			}
		}
	}
	for _, row := range res.Rows {
		res.compare(t, row)
	}
	res.Budgets = judge(res)
}

// compare fills the ratios of a row.
func (res *Result) compare(t Table, row *Row) {
	row.OfFloor, row.OfBest = make(map[string]Stat), make(map[string]Stat)
	for _, c := range t.Columns {
		if !c.Ratio {
			continue
		}
		if s, ok := res.Ratio(row.Cell, row.Contestant, row.Cell, t.Floor, c.Key); ok {
			row.OfFloor[c.Key] = s
		}
		if s, ok := res.Ratio(row.Cell, row.Contestant, row.Cell, res.BestPeer(row.Cell, c.Key, c.Higher), c.Key); ok {
			row.OfBest[c.Key] = s
		}
	}
}

// Save writes the result to <dir>/<table>.json and returns the path.
func (res *Result) Save(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(res, "", " ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, res.Table+".json")
	return path, os.WriteFile(path, append(b, '\n'), 0o644)
}

// LoadResult reads what Save wrote.
func LoadResult(dir, table string) (*Result, error) {
	b, err := os.ReadFile(filepath.Join(dir, table+".json"))
	if err != nil {
		return nil, err
	}
	res := &Result{}
	if err := json.Unmarshal(b, res); err != nil {
		return nil, fmt.Errorf("results of %s: %w", table, err)
	}
	return res, nil
}

func newResult(t Table, o Options, args []string) *Result {
	return &Result{
		Table:   t.Name,
		Command: strings.TrimSpace("go run . " + t.Name + " " + strings.Join(args, " ")),
		Date:    time.Now().UTC().Truncate(time.Second),
		Machine: thisMachine(),
		Go:      runtime.Version(),
		Modules: modules(),
		Scale:   o.Scale,
		Rounds:  o.Rounds,
		Seconds: o.Seconds,
	}
}

func modules() []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var list []string
	for _, m := range info.Deps {
		list = append(list, m.Path+" "+m.Version)
	}
	return list
}

func thisMachine() Machine {
	return Machine{
		CPU:       procField("/proc/cpuinfo", "model name"),
		Cores:     runtime.NumCPU(),
		MemoryMiB: kib(procField("/proc/meminfo", "MemTotal")) / 1024,
		Kernel:    firstLine("/proc/sys/kernel/osrelease"),
		System:    runtime.GOOS + "/" + runtime.GOARCH,
		Load:      firstLine("/proc/loadavg"),
	}
}

// procField is the value of the first "name : value" line; empty where there is
// none, as on other systems than Linux.
func procField(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func kib(s string) int {
	var n int
	_, _ = fmt.Sscanf(s, "%d", &n) // stays 0 where the system does not say
	return n
}

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}
