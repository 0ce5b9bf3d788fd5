package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// ErrNoRow is returned by a measurement of a contestant that has no part in a
// cell: it gets no row and no note.
var ErrNoRow = errors.New("no part in this cell")

// cellTimeout bounds one measurement of one contestant beyond its intervals: a
// contestant that hangs must not hold up the run.
const cellTimeout = 3 * time.Minute

// Runner is what a Table's Run works with, in the parent. Its methods may be used
// by one goroutine at a time, Serve and Load by several.
type Runner struct {
	Table   Table
	Options Options
	Result  *Result

	log     io.Writer
	ctx     context.Context
	started time.Time
	cut     bool    // Limit is over, and the results say so
	traces  *traces // nil: nothing is traced
}

func newRunner(ctx context.Context, t Table, o Options, args []string, log io.Writer) *Runner {
	return &Runner{Table: t, Options: o, Result: newResult(t, o, args), log: log, ctx: ctx, started: time.Now()}
}

// Run runs a table with its command line: it measures, writes the results file
// and prints the tables to out, progress to log.
func Run(ctx context.Context, t Table, args []string, out, log io.Writer) error {
	o, err := ParseOptions(t, args, log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // stops every server that is left
	r := newRunner(ctx, t, o, args, log)
	runErr := t.Run(ctx, r)
	r.Result.finish(t)
	if len(r.Result.Rows) == 0 {
		return errors.Join(runErr, errors.New("nothing was measured; do --only and --cells match anything?"))
	}
	if err := WriteReport(out, t, r.Result); err != nil {
		return errors.Join(runErr, err)
	}
	if runErr != nil {
		return runErr // half a run does not replace the results of a whole one
	}
	path, err := r.Result.Save(o.Out)
	if err != nil {
		return err
	}
	fmt.Fprintln(log, "results in", path)
	return nil
}

// Logf prints a line of progress.
func (r *Runner) Logf(format string, args ...any) { fmt.Fprintf(r.log, format+"\n", args...) }

// Note adds a line to the results: something their reader must know.
func (r *Runner) Note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if !slices.Contains(r.Result.Notes, line) {
		r.Result.Notes = append(r.Result.Notes, line)
		r.Logf("%s", line)
	}
}

// Wants says whether --cells selects a cell.
func (r *Runner) Wants(cell string) bool {
	return r.Options.Cells == nil || r.Options.Cells.MatchString(cell)
}

// WantsContestant says whether --only selects a contestant.
func (r *Runner) WantsContestant(name string) bool {
	return r.Options.Only == nil || r.Options.Only.MatchString(name)
}

// Once is a Runner of one round, with the same results: for what takes minutes.
func (r *Runner) Once() *Runner {
	once := *r
	once.Options.Rounds = 1
	return &once
}

// Rounds measures one cell: every contestant in turn, once per round, each round
// beginning with another one. What fails or is absent is noted and left out. The
// error is ctx's only. A cell that --cells does not select is skipped.
func (r *Runner) Rounds(ctx context.Context, cell string, measure func(ctx context.Context, contestant string) (Sample, error)) error {
	if !r.Wants(cell) {
		return nil
	}
	var in []Contestant
	for _, c := range r.Table.Contestants {
		if r.WantsContestant(c.Name) {
			in = append(in, c)
		}
	}
	for round := range r.Options.Rounds {
		for i := range in {
			if r.late(cell, round) {
				return nil
			}
			c := in[(i+round)%len(in)]
			if err := r.one(ctx, cell, round, c, measure); err != nil {
				return err
			}
		}
	}
	return nil
}

// late says whether the time for the table is over. The first cell that it cuts
// off is noted.
func (r *Runner) late(cell string, round int) bool {
	if r.Options.Limit == 0 || time.Since(r.started) < r.Options.Limit {
		return false
	}
	if !r.cut {
		r.cut = true
		r.Note("the run's limit of %s was over in round %d of %q: what follows was not measured", r.Options.Limit, round+1, cell)
	}
	return true
}

// one measures one contestant once.
func (r *Runner) one(ctx context.Context, cell string, round int, c Contestant, measure func(context.Context, string) (Sample, error)) error {
	if row := r.Result.Row(cell, c.Name); row != nil && row.Skipped != "" {
		return nil
	}
	limit := cellTimeout + time.Duration(20*float64(r.Options.Interval()+r.Options.WarmUpTime()))
	r.traces.begin(cell, c.Name)
	once, cancel := context.WithTimeout(ctx, limit)
	s, err := measure(once, c.Name)
	cancel()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrNoRow):
		return nil
	case errors.Is(err, ErrAbsent):
		r.Note("%s skipped: %v", c.Name, err)
		r.Result.row(cell, c).Skipped = err.Error()
		return nil
	case err != nil:
		r.Note("%s failed at %s: %v", c.Name, cell, err)
		r.Result.row(cell, c).Failed = err.Error()
		return nil
	}
	r.Result.row(cell, c).keep(round, s)
	r.traces.keep(s)
	r.progress(cell, round, c.Name, s)
	return nil
}

func (r *Runner) progress(cell string, round int, contestant string, s Sample) {
	line := fmt.Sprintf("%-22s %d/%d %-22s", cell, round+1, r.Options.Rounds, contestant)
	for _, c := range r.Table.Columns {
		if v, ok := s[c.Key]; ok {
			line += fmt.Sprintf("  %s %s", c.Title, number(v))
		}
	}
	r.Logf("%s", line)
}
