package harness

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// budgetsFile is where Summarise leaves what it prints.
const budgetsFile = "budgets.md"

// Summarise holds the budgets of all tables against the results that are there,
// prints that and writes it to budgets.md beside them.
func Summarise(tables []Table, args []string, out, log io.Writer) error {
	flags := flag.NewFlagSet("bench budgets", flag.ContinueOnError)
	flags.SetOutput(log)
	results := flags.String("results", "results", "`directory` of the results")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return summarise(tables, *results, out, log)
}

// SummariseRun is Summarise after a run of all tables with their flags.
func SummariseRun(tables []Table, args []string, out, log io.Writer) error {
	o, err := ParseOptions(tables[0], args, log)
	if err != nil {
		return err
	}
	return summarise(tables, o.Out, out, log)
}

func summarise(tables []Table, dir string, out, log io.Writer) error {
	var list []*Result
	for _, t := range tables {
		res, err := LoadResult(dir, t.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			res = &Result{Table: t.Name} // its budgets are there, as not measured
		case err != nil:
			return err
		}
		res.Budgets = judge(res) // by the budgets as they are now
		list = append(list, res)
	}
	text := summary(list)
	if _, err := io.WriteString(out, "\n"+text); err != nil {
		return err
	}
	path := filepath.Join(dir, budgetsFile)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fmt.Fprintln(log, "budgets in", path)
	return os.WriteFile(path, []byte(text), 0o644)
}

// summary is Markdown. Results may be of different runs, so it says when and how
// each of them was made.
func summary(list []*Result) string {
	var b, rows strings.Builder
	reached, missed, missing := 0, 0, 0 // a small run shows nothing
	for _, res := range list {
		for _, v := range res.Budgets {
			switch {
			case v.Missing != "" || v.Small:
				missing++
			case v.Held:
				reached++
			default:
				missed++
			}
			fmt.Fprintf(&rows, "| %s | %s | %s | %s | %s |\n", res.Table, v.Work, v.Budget, v.measured(), v.verdict())
		}
	}
	fmt.Fprintf(&b, "# Budgets\n\n%d reached, %d not reached, %d not measured in full size.\n\n", reached, missed, missing)
	b.WriteString("| table | work | budget | measured | |\n|---|---|---|--:|---|\n")
	b.WriteString(rows.String())
	b.WriteString("\nThe runs:\n\n")
	for _, res := range list {
		if res.Date.IsZero() {
			fmt.Fprintf(&b, "- %s: no results\n", res.Table)
			continue
		}
		fmt.Fprintf(&b, "- %s: `%s`, %s, %d rounds of %s s, load at start %s\n", res.Table, res.Command,
			res.Date.Format("2006-01-02 15:04 MST"), res.Rounds, number(res.Seconds), res.Machine.Load)
	}
	return b.String()
}
