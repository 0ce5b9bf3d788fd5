package harness

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"html"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Chart is one picture of a table's results: groups of bars, one group per cell.
type Chart struct {
	File        string // its name without ".svg"
	Title       string // with the unit
	Figure      string // "" is the table's Rank
	Cells       []string
	Contestants []string // none: everybody
	OneScale    bool     // the groups share a scale
}

// DrawCharts draws the charts of tables whose results are there, and says on log
// which are not.
func DrawCharts(tables []Table, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("bench charts", flag.ContinueOnError)
	flags.SetOutput(log)
	results := flags.String("results", "results", "`directory` of the results")
	out := flags.String("out", filepath.Join("..", "docs", "img"), "`directory` for the pictures")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, t := range tables {
		res, err := LoadResult(*results, t.Name)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(log, "no results of %s in %s; run it first\n", t.Name, *results)
			continue
		}
		if err != nil {
			return err
		}
		if err := drawTable(t, res, *out, log); err != nil {
			return err
		}
	}
	return nil
}

func drawTable(t Table, res *Result, dir string, log io.Writer) error {
	for _, c := range t.Charts {
		svg := c.SVG(t, res)
		if svg == "" {
			fmt.Fprintf(log, "%s has nothing for %s.svg\n", t.Name, c.File)
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		path := filepath.Join(dir, c.File+".svg")
		if err := os.WriteFile(path, []byte(svg), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(log, "drew", path)
	}
	return nil
}

// bar is one value of a chart.
type bar struct {
	label string
	kind  Kind
	stat  Stat
}

// group is the bars of one cell.
type group struct {
	title string
	bars  []bar
}

// groups collects what the result has for the chart.
func (c Chart) groups(t Table, res *Result) []group {
	figure := cmp.Or(c.Figure, t.Rank)
	var list []group
	for _, cell := range c.Cells {
		g := group{title: cell}
		for _, row := range rowsOf(res, cell) {
			s, ok := row.Figures[figure]
			if ok && (len(c.Contestants) == 0 || slices.Contains(c.Contestants, row.Contestant)) {
				g.bars = append(g.bars, bar{row.Contestant, row.Kind, s})
			}
		}
		if len(g.bars) > 0 {
			list = append(list, g)
		}
	}
	return list
}

// The measures of a chart, in pixels.
const (
	chartWidth  = 760
	labelWidth  = 150
	valueWidth  = 70
	barHeight   = 14
	barStep     = 19
	groupHead   = 34
	chartMargin = 16
	titleHeight = 40
	footHeight  = 30
)

// style makes a chart readable on white and on black paper: colours come from
// the reader's scheme.
//
//nolint:misspell // CSS spells it so
const style = `<style>
.bg{fill:#ffffff}.t{fill:#1f2328}.s{fill:#59636e}.floor{fill:#afb8c1}.ours{fill:#1a7f5a}.peer{fill:#5a86c5}.w{stroke:#1f2328;stroke-opacity:.55}.ax{stroke:#d1d9e0}
@media(prefers-color-scheme:dark){.bg{fill:#0d1117}.t{fill:#e6edf3}.s{fill:#9198a1}.floor{fill:#6e7681}.ours{fill:#3fb27f}.peer{fill:#6f9ee0}.w{stroke:#e6edf3}.ax{stroke:#3d444d}}
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}.h{font-size:15px;font-weight:600}.g{font-size:13px;font-weight:600}.e{text-anchor:end}.f{font-size:11px}
</style>
`

// SVG draws the chart; "" when the result has nothing for it. The bar is the
// median, the thin line the range from the first to the third quartile.
func (c Chart) SVG(t Table, res *Result) string {
	groups := c.groups(t, res)
	if len(groups) == 0 {
		return ""
	}
	height := titleHeight + footHeight
	for _, g := range groups {
		height += groupHead + barStep*len(g.bars)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n",
		chartWidth, height, chartWidth, height, html.EscapeString(c.Title))
	b.WriteString(style)
	fmt.Fprintf(&b, `<rect class="bg" width="%d" height="%d"/>`+"\n", chartWidth, height)
	fmt.Fprintf(&b, `<text class="t h" x="%d" y="26">%s</text>`+"\n", chartMargin, html.EscapeString(c.Title))
	y := titleHeight
	for _, g := range groups {
		top := g.top()
		if c.OneScale {
			for _, other := range groups {
				top = math.Max(top, other.top())
			}
		}
		y = g.draw(&b, y, top)
	}
	fmt.Fprintf(&b, `<text class="s f" x="%d" y="%d">%s</text>`+"\n</svg>\n", chartMargin, height-10, html.EscapeString(c.footer(res)))
	return b.String()
}

// top is the largest value that is drawn.
func (g group) top() float64 {
	top := 0.0
	for _, r := range g.bars {
		top = math.Max(top, math.Max(r.stat.Median, r.stat.Q3))
	}
	return top
}

// draw draws the group below y, on a scale that ends at top, and returns where
// it ends.
func (g group) draw(b *strings.Builder, y int, top float64) int {
	left := chartMargin + labelWidth
	scale := float64(chartWidth-left-valueWidth-chartMargin) / cmp.Or(top, 1)
	fmt.Fprintf(b, `<text class="t g" x="%d" y="%d">%s</text>`+"\n", chartMargin, y+22, html.EscapeString(g.title))
	y += groupHead
	fmt.Fprintf(b, `<line class="ax" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", left, y-3, left, y+barStep*len(g.bars)-2)
	for _, r := range g.bars {
		r.draw(b, left, y, scale)
		y += barStep
	}
	return y
}

func (r bar) draw(b *strings.Builder, left, y int, scale float64) {
	middle := y + barHeight/2
	width := math.Max(r.stat.Median*scale, 1)
	fmt.Fprintf(b, `<text class="t e" x="%d" y="%d">%s</text>`, left-8, y+11, html.EscapeString(r.label))
	fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, r.kind, left, y, width, barHeight)
	end := float64(left) + width
	if r.stat.N > 1 {
		from, to := float64(left)+r.stat.Q1*scale, float64(left)+r.stat.Q3*scale
		fmt.Fprintf(b, `<line class="w" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, from, middle, to, middle)
		end = math.Max(end, to)
	}
	fmt.Fprintf(b, `<text class="s" x="%.1f" y="%d">%s</text>`+"\n", end+6, y+11, number(r.stat.Median))
}

func (c Chart) footer(res *Result) string {
	text := fmt.Sprintf("%s, %d cores, %s, %s; rounds: %d, medians",
		cmp.Or(res.Machine.CPU, res.Machine.System), res.Machine.Cores, res.Go, res.Date.Format("2006-01-02"), res.Rounds)
	if res.Rounds > 1 {
		text += ", line: quartiles"
	}
	if !c.OneScale {
		text += "; each group has its own scale"
	}
	return text
}
