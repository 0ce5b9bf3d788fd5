package harness

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// tracing is the trace that a Meter takes over its interval: of this process, and
// of the servers.
type tracing struct {
	trace
	self    profiler
	servers []*Control // being profiled
	tracers []*tracer
}

// newTracing is the tracing that the parent wants of this process, or nil.
func newTracing() *tracing {
	prefix, strace, ok := strings.Cut(os.Getenv(traceEnv), "\n")
	if !ok {
		return nil
	}
	return &tracing{trace: trace{Prefix: prefix, Strace: strace}}
}

// figTraced is how many operations there were in the interval whose trace stays.
const figTraced = "traced_ops"

// start begins the trace; of several intervals the last one's files stay. What cannot be traced, such as a profile of a server
// that is no Go program, has no file.
func (t *tracing) start(ctx context.Context, servers []Ready, ctrl []*Control) error {
	if t.Strace != "" {
		return t.count(ctx, servers)
	}
	for i, c := range ctrl {
		if len(servers[i].PIDs) != 1 || servers[i].PIDs[0] != servers[i].PID {
			continue // it is a program of its own
		}
		if err := c.Command(ctx, cmdProfile, t.path(fmt.Sprintf("server%d", i), profileSuffix), nil); err != nil {
			return err
		}
		t.servers = append(t.servers, c)
	}
	return t.self.start(t.path("client", profileSuffix))
}

// count has strace count system calls. This process comes last: once it is traced
// all that it starts is traced with it, another strace too, which then cannot trace.
func (t *tracing) count(ctx context.Context, servers []Ready) error {
	for i, r := range servers {
		if len(r.PIDs) != 1 {
			continue
		}
		if err := t.attach(ctx, r.PIDs[0], fmt.Sprintf("server%d", i)); err != nil {
			return err
		}
	}
	return t.attach(ctx, selfPID, "client")
}

func (t *tracing) attach(ctx context.Context, pid int, who string) error {
	tr, err := attach(ctx, t.Strace, pid, t.path(who, straceSuffix))
	if err == nil {
		t.tracers = append(t.tracers, tr)
	}
	return err
}

func (t *tracing) path(who, suffix string) string { return t.Prefix + "-" + who + suffix }

// stop ends the trace and completes its files.
func (t *tracing) stop(ctx context.Context) error {
	for _, tr := range t.tracers {
		if err := tr.detach(); err != nil {
			return err
		}
	}
	for _, c := range t.servers {
		if err := c.Command(ctx, cmdProfileEnd, nil, nil); err != nil {
			return err
		}
	}
	t.tracers, t.servers = nil, nil
	return t.self.end()
}

// tracer is a strace that counts the system calls of a process.
type tracer struct {
	cmd *exec.Cmd
	err io.Reader
}

// attach returns when the process is traced.
func attach(ctx context.Context, program string, pid int, path string) (*tracer, error) {
	cmd := exec.CommandContext(ctx, program, "-c", "-f", "-o", path, "-p", strconv.Itoa(pid))
	said, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t := &tracer{cmd: cmd}
	lines := bufio.NewReader(said)
	t.err = lines
	line, err := lines.ReadString('\n')
	if err != nil || !strings.Contains(line, "attached") {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("strace does not attach: %s", strings.TrimSpace(line))
	}
	return t, nil
}

// detach lets the process go and waits until the counts are written.
func (t *tracer) detach() error {
	if err := t.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, t.err)
	_ = t.cmd.Wait() // it ends by the signal
	return nil
}

// straceCounts reads the table that strace -c writes: how often each call was made.
func straceCounts(table string) map[string]float64 {
	counts := make(map[string]float64)
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 5 || f[len(f)-1] == "total" {
			continue
		}
		if n, err := strconv.ParseFloat(f[3], 64); err == nil {
			counts[f[len(f)-1]] = n
		}
	}
	return counts
}
