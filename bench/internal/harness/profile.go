package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
)

// Profile measures a table's cells as Run does, once, and says where the time
// goes: CPU profiles of the load process and of the servers over the measured
// interval, and in a second measurement the system calls of each operation. It
// takes a table's flags; --out is the directory for the profiles. Without --only it
// takes Trefoil, without --cells those of --quick.
func Profile(ctx context.Context, t Table, args []string, out, log io.Writer) error {
	o, err := ParseOptions(t, append([]string{"--out", "profiles", "--rounds", "1", "--seconds", "3", "--only", "^trefoil$"}, args...), log)
	if err != nil {
		return err
	}
	o.tracing = true
	if o.Cells == nil {
		o.Scale = Quick
	}
	dir, err := filepath.Abs(o.Out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // stops every server that is left
	tracer, err := exec.LookPath("strace")
	if err != nil {
		fmt.Fprintln(log, "system calls are not counted: there is no strace; apt-get install strace brings it")
	}
	found := &traces{dir: dir}
	for _, program := range slices.Compact([]string{"", tracer}) {
		r := newRunner(ctx, t, o, args, log)
		found.strace, r.traces = program, found
		if err := t.Run(ctx, r); err != nil {
			return err
		}
	}
	if len(found.list) == 0 {
		return errors.New("nothing was profiled; do --only and --cells match anything, and is the table one that measures CPU time?")
	}
	return found.print(ctx, out)
}

// traces is what a profiling run asks of its processes.
type traces struct {
	dir    string
	strace string // count system calls with this program instead of taking profiles
	list   []traced
	label  string // of the measurement under way
}

// traced is one measurement.
type traced struct {
	Label  string
	Strace bool
	Sample Sample
	Files  []string // profiles, or strace's counts
}

// trace is what a load program is told about it.
type trace struct {
	Prefix string // of the files to write
	Strace string // the program, when system calls are to be counted
}

// traceEnv is how it is told: the two, with a line break between them.
const traceEnv = "TREFOIL_BENCH_TRACE"

// env is the environment of the measurement under way. A nil traces asks nothing.
func (t *traces) env() []string {
	if t == nil {
		return nil
	}
	return []string{traceEnv + "=" + filepath.Join(t.dir, fileName(t.label)) + "\n" + t.strace}
}

// begin names the measurement that follows.
func (t *traces) begin(cell, contestant string) {
	if t != nil {
		t.label = cell + " " + contestant
	}
}

// keep notes a measurement that has ended.
func (t *traces) keep(s Sample) {
	if t == nil {
		return
	}
	suffix := profileSuffix
	if t.strace != "" {
		suffix = straceSuffix
	}
	var files []string
	for _, who := range []string{"client", "server0", "server1", "server2"} {
		path := filepath.Join(t.dir, fileName(t.label)) + "-" + who + suffix
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			files = append(files, path)
		}
	}
	if len(files) > 0 {
		t.list = append(t.list, traced{t.label, t.strace != "", maps.Clone(s), files})
	}
}

const (
	profileSuffix = ".pprof"
	straceSuffix  = ".strace"
)

// fileName is a label without what file names had better not have.
func fileName(label string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(` /\:%`, c) {
			return '-'
		}
		return c
	}, label)
}

// print prints the profiles' tops and the counts.
func (t *traces) print(ctx context.Context, out io.Writer) error {
	for _, m := range t.list {
		if m.Strace {
			if err := m.printCalls(out); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(out, "\n# %s: %s op/s, CPU per operation: client %s µs, server %s µs\n", m.Label,
			number(m.Sample[FigRate]), number(m.Sample[FigCPUClient]), number(m.Sample[FigCPUServer]))
		for _, path := range m.Files {
			fmt.Fprintf(out, "\n## %s\n\n", path)
			cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=25", path)
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("go tool pprof %s: %w", path, err)
			}
		}
	}
	return nil
}

// printCalls prints how often each system call was made, per operation.
func (m traced) printCalls(out io.Writer) error {
	counts := make([]map[string]float64, len(m.Files))
	total := make(map[string]float64)
	fmt.Fprintf(out, "\n# %s: system calls per operation, while strace slowed it to %s op/s\n\n| call |", m.Label, number(m.Sample[FigRate]))
	for i, path := range m.Files {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		counts[i] = straceCounts(string(b))
		for call, n := range counts[i] {
			total[call] += n
		}
		fmt.Fprintf(out, " %s |", strings.TrimSuffix(path[strings.LastIndexByte(path, '-')+1:], straceSuffix))
	}
	fmt.Fprintf(out, "\n|---|%s\n", strings.Repeat("--:|", len(m.Files)))
	calls := slices.SortedFunc(maps.Keys(total), func(a, b string) int {
		return cmp.Or(cmp.Compare(total[b], total[a]), cmp.Compare(a, b))
	})
	for _, call := range calls {
		fmt.Fprintf(out, "| %s |", call)
		for i := range counts {
			fmt.Fprintf(out, " %s |", number(counts[i][call]/m.Sample[figTraced]))
		}
		fmt.Fprintln(out)
	}
	return nil
}

// The control commands of a served program that is profiled; their argument is
// the file.
const (
	cmdProfile    = "profile"
	cmdProfileEnd = "profile end"
)

// profiler takes this process' CPU profile. Safe for concurrent use.
type profiler struct {
	mu   sync.Mutex
	file *os.File
}

func (p *profiler) start(path string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		return errors.New("this process is profiled already")
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	p.file = f
	return nil
}

func (p *profiler) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		return nil
	}
	pprof.StopCPUProfile()
	f := p.file
	p.file = nil
	return f.Close()
}

// command answers the control commands.
func (p *profiler) command(cmd command) (any, error) {
	if cmd.Name == cmdProfileEnd {
		return struct{}{}, p.end()
	}
	var path string
	if err := json.Unmarshal(cmd.Arg, &path); err != nil {
		return nil, err
	}
	return struct{}{}, p.start(path)
}
