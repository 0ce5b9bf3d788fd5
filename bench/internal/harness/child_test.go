package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fake is a table whose programs do nothing much.
func fake() Table {
	return Table{
		Name:  "fake",
		About: "a table for tests",
		Floor: "floor",
		Rank:  FigRate,
		Contestants: []Contestant{
			{"floor", Floor}, {"ours", Ours}, {"peer", Peer}, {"absent", Peer}, {"broken", Peer},
		},
		Columns: []Column{{Key: FigRate, Title: "1/s", Higher: true, Ratio: true}, {Key: FigP50, Title: "p50, µs"}},
		Serve: map[string]ServeFunc{
			"floor": serveFake, "ours": serveFake, "peer": serveFake,
			"absent": func(context.Context, json.RawMessage) (*Served, error) { return nil, Absent("no such program") },
			"broken": func(context.Context, json.RawMessage) (*Served, error) { return nil, errors.New("out of order") },
			"crash":  func(context.Context, json.RawMessage) (*Served, error) { panic("as told") },
		},
		Load: map[string]LoadFunc{"count": loadFake},
		Run: func(ctx context.Context, r *Runner) error {
			return r.Rounds(ctx, "cell", func(ctx context.Context, name string) (Sample, error) { return measureFake(ctx, r, name) })
		},
	}
}

func serveFake(_ context.Context, spec json.RawMessage) (*Served, error) {
	return &Served{
		Addr: "nowhere",
		More: map[string]string{"spec": string(spec)},
		Commands: map[string]CommandFunc{
			"double": func(_ context.Context, arg json.RawMessage) (any, error) {
				var n int
				err := json.Unmarshal(arg, &n)
				return 2 * n, err
			},
		},
	}, nil
}

// loadFake measures something that takes CPU time and memory.
func loadFake(ctx context.Context, job *Job) (any, error) {
	m, err := NewMeter(ctx, job.Servers)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if err := m.Start(ctx); err != nil {
		return nil, err
	}
	var h Histogram
	sink := 0
	for i := range 1000 {
		sink += len(fmt.Sprint(i))
		h.Record(1000)
	}
	s, err := m.Stop(ctx, func() uint64 { return uint64(sink) })
	if err != nil {
		return nil, err
	}
	h.Figures(s)
	return s, nil
}

func measureFake(ctx context.Context, r *Runner, name string) (Sample, error) {
	p, err := r.Serve(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	defer p.Stop()
	var s Sample
	err = r.Load(ctx, "count", nil, &s, p)
	return s, err
}

func TestMain(m *testing.M) {
	if !IsChild() {
		os.Setenv("GORACE", "atexit_sleep_ms=0") // children built with -race would sleep a second when they end
		os.Exit(m.Run())
	}
	run := RunServe
	if os.Args[1] == "load" {
		run = RunLoad
	}
	if err := run(context.Background(), fake(), os.Args[3], os.Args[4], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// newFakeRunner is a Runner whose servers end with the test.
func newFakeRunner(t *testing.T) *Runner {
	return &Runner{Table: fake(), Result: &Result{}, Options: Options{Rounds: 1}, log: io.Discard, ctx: t.Context()}
}

func TestServedProgramGetsItsSpecAndAnswersCommands(t *testing.T) {
	r := newFakeRunner(t)
	p, err := r.Serve(t.Context(), "ours", map[string]int{"n": 1})
	require.NoError(t, err)
	defer p.Stop()
	assert.JSONEq(t, `{"n":1}`, p.More["spec"])
	var n int
	require.NoError(t, p.Command(t.Context(), "double", 21, &n))
	assert.Equal(t, 42, n)
	assert.ErrorContains(t, p.Command(t.Context(), "triple", 1, nil), "no such command")
}

func TestSnapshotAccountsTheServersProcess(t *testing.T) {
	r := newFakeRunner(t)
	p, err := r.Serve(t.Context(), "ours", nil)
	require.NoError(t, err)
	defer p.Stop()
	s, err := p.Snapshot(t.Context(), true)
	require.NoError(t, err)
	assert.Positive(t, s.CPU)
	assert.Positive(t, s.RSSKiB)
	assert.GreaterOrEqual(t, s.PeakKiB, s.RSSKiB)
	assert.True(t, s.Go)
	assert.Positive(t, s.Mallocs)
}

func TestStoppedAndKilledProcessesAreGone(t *testing.T) {
	r := newFakeRunner(t)
	for name, end := range map[string]func(*Process){
		"stop": (*Process).Stop,
		"kill": func(p *Process) { p.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			p, err := r.Serve(t.Context(), "ours", nil)
			require.NoError(t, err)
			end(p)
			end(p) // again is nothing
			_, err = ProcessCPU(p.PID)
			assert.Error(t, err, "the process is gone")
		})
	}
}

func TestProcessesEndWithTheRunnersContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := newFakeRunner(t)
	r.ctx = ctx
	p, err := r.Serve(t.Context(), "ours", nil)
	require.NoError(t, err)
	cancel()
	p.Stop() // waits for the end that the context has begun
	_, err = ProcessCPU(p.PID)
	assert.Error(t, err)
}

func TestWhatDoesNotStartSaysWhy(t *testing.T) {
	r := newFakeRunner(t)
	tests := map[string]struct {
		role string
		text string
	}{
		"absent":  {"absent", "no such program"},
		"failed":  {"broken", "out of order"},
		"crashed": {"crash", "as told"},
		"unknown": {"nonsense", "no program"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := r.Serve(t.Context(), tt.role, nil)
			assert.ErrorContains(t, err, tt.text)
			assert.Equal(t, name == "absent", errors.Is(err, ErrAbsent))
		})
	}
}

func TestRunGoesOnWithoutContestantsThatFail(t *testing.T) {
	var out, log bytes.Buffer
	dir := t.TempDir()
	require.NoError(t, Run(t.Context(), fake(), []string{"--rounds", "2", "--out", dir}, &out, &log), "%s", log.String())
	res, err := LoadResult(dir, "fake")
	require.NoError(t, err)
	for _, name := range []string{"floor", "ours", "peer"} {
		row := res.Row("cell", name)
		require.NotNil(t, row, name)
		assert.Empty(t, row.Failed)
		assert.Len(t, row.Samples, 2)
		assert.Equal(t, 2, row.Figures[FigRate].N)
		assert.Equal(t, 2, row.OfFloor[FigRate].N)
		for _, figure := range []string{FigCPU, FigCPUClient, FigRSSServer, FigPeakServer, FigAllocServer} {
			assert.Contains(t, row.Figures, figure)
		}
		assert.Positive(t, row.Figures[FigAllocClient].Median)
	}
	assert.Contains(t, res.Row("cell", "absent").Skipped, "no such program")
	assert.Contains(t, res.Row("cell", "broken").Failed, "out of order")
	assert.Contains(t, out.String(), "## cell")
	assert.Contains(t, out.String(), "absent (skipped)")
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	table := fake()
	table.Run = func(ctx context.Context, r *Runner) error {
		return r.Rounds(ctx, "cell", func(context.Context, string) (Sample, error) {
			cancel()
			return nil, errors.New("interrupted")
		})
	}
	err := Run(ctx, table, []string{"--out", t.TempDir()}, io.Discard, io.Discard)
	assert.ErrorIs(t, err, context.Canceled)
}
