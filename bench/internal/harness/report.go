package harness

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// WriteReport prints a result as Markdown.
func WriteReport(w io.Writer, t Table, res *Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", t.Name, t.About)
	fmt.Fprintf(&b, "`%s`, %s; %s, %d cores, %d MiB, Linux %s, load at start %s; %s; %d rounds of %s s; medians, spread of the ratios is min–max.\n",
		res.Command, res.Date.Format("2006-01-02 15:04 MST"), cmp.Or(res.Machine.CPU, "unknown CPU"), res.Machine.Cores, res.Machine.MemoryMiB,
		res.Machine.Kernel, res.Machine.Load, res.Go, res.Rounds, number(res.Seconds))
	for _, n := range res.Notes {
		fmt.Fprintf(&b, "\n- %s", strings.ReplaceAll(n, "\n", " "))
	}
	b.WriteString("\n")
	for _, cell := range res.Cells() {
		writeCell(&b, t, res, cell)
	}
	writeBudgets(&b, res.Budgets)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeCell prints the contestants of one cell.
func writeCell(b *strings.Builder, t Table, res *Result, cell string) {
	rows, cols := rowsOf(res, cell), columnsOf(t, res, cell)
	fmt.Fprintf(b, "\n## %s\n\n| contestant |", cell)
	for _, c := range cols {
		fmt.Fprintf(b, " %s |", c.title)
	}
	b.WriteString("\n|---|" + strings.Repeat("--:|", len(cols)) + "\n")
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |", row.Contestant+row.trouble())
		for _, c := range cols {
			fmt.Fprintf(b, " %s |", c.text(row))
		}
		b.WriteString("\n")
	}
}

// trouble is what must be said beside a contestant's name.
func (row *Row) trouble() string {
	switch {
	case row.Skipped != "":
		return " (skipped)"
	case row.Failed != "":
		return " (failed in a round)"
	}
	return ""
}

func rowsOf(res *Result, cell string) []*Row {
	var rows []*Row
	for _, row := range res.Rows {
		if row.Cell == cell {
			rows = append(rows, row)
		}
	}
	return rows
}

type printed struct {
	title string
	text  func(*Row) string
}

// columnsOf are the columns that have something in a cell.
func columnsOf(t Table, res *Result, cell string) []printed {
	var cols []printed
	add := func(title string, stat func(*Row) (Stat, bool), format func(Stat) string) {
		some := false
		for _, row := range rowsOf(res, cell) {
			_, ok := stat(row)
			some = some || ok
		}
		if !some {
			return
		}
		cols = append(cols, printed{title, func(row *Row) string {
			s, ok := stat(row)
			if !ok {
				return ""
			}
			return format(s)
		}})
	}
	plain := func(s Stat) string { return number(s.Median) }
	for _, c := range t.Columns {
		add(c.Title, func(row *Row) (Stat, bool) { s, ok := row.Figures[c.Key]; return s, ok }, plain)
		if !c.Ratio {
			continue
		}
		add("x floor", func(row *Row) (Stat, bool) { s, ok := row.OfFloor[c.Key]; return s, ok }, spread)
		if best := res.BestPeer(cell, c.Key, c.Higher); best != "" {
			add("x best peer ("+best+")", func(row *Row) (Stat, bool) { s, ok := row.OfBest[c.Key]; return s, ok }, spread)
		}
	}
	return cols
}

func spread(s Stat) string {
	if s.N < 2 {
		return fmt.Sprintf("%.2f", s.Median)
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Min, s.Max)
}

func writeBudgets(b *strings.Builder, list []Verdict) {
	if len(list) == 0 {
		return
	}
	b.WriteString("\n## Budgets\n\n| work | budget | measured | |\n|---|---|--:|---|\n")
	for _, v := range list {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", v.Work, v.Budget, v.measured(), v.verdict())
	}
}

// number prints three significant digits, thousands grouped, as people read them.
func number(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 1000:
		return grouped(strconv.FormatFloat(v, 'f', 0, 64))
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func grouped(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
