package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// selfPID is what processes account themselves by.
var selfPID = os.Getpid()

// patience is how long a process may take to end by itself before it is killed.
const patience = 5 * time.Second

// Process is a serving process.
type Process struct {
	Ready
	child  *child
	forget func() bool // takes back the stop at the end of the Runner's context
}

// Stop asks the process to end, waits for it, and kills it when it takes too
// long. Calls after the first do nothing.
func (p *Process) Stop() {
	p.forget()
	p.child.stop()
}

// Kill ends the process with SIGKILL, without any warning, and returns the
// moment (see Monotonic) just before.
func (p *Process) Kill() int64 {
	at := Monotonic()
	_ = p.child.cmd.Process.Kill() // it fails only when the process has ended
	p.Stop()
	return at
}

// Command runs a control command; see the function Command.
func (p *Process) Command(ctx context.Context, name string, arg, result any) error {
	return Command(ctx, p.Ready, name, arg, result)
}

// Snapshot asks what the process has used; see Control.Snapshot.
func (p *Process) Snapshot(ctx context.Context, settle bool) (Snapshot, error) {
	var s Snapshot
	err := p.Command(ctx, cmdSnapshot, settle, &s)
	return s, err
}

// child is this executable started again with hidden arguments.
type child struct {
	cmd    *exec.Cmd
	in     io.Closer
	out    *bufio.Reader
	stderr *tail
	once   sync.Once
}

// spawn starts a child. It ends when its standard input is closed, which also
// happens when we die.
func spawn(env []string, args ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(exe, args...), stderr: &tail{}}
	c.cmd.Stderr = c.stderr
	c.cmd.Env = append(append(os.Environ(), childEnv+"=1"), env...)
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.in, c.out = in, bufio.NewReader(out)
	return c, nil
}

// childEnv marks processes that the harness started, so that a test binary knows
// it is one.
const childEnv = "TREFOIL_BENCH_CHILD"

// IsChild says whether this process was started by the harness.
func IsChild() bool { return os.Getenv(childEnv) != "" }

// line reads the child's one line of JSON. ctx's end stops the child.
func (c *child) line(ctx context.Context, v any) error {
	defer context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })()
	b, err := c.out.ReadBytes('\n')
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.stop() // so that all it wrote is there
		return fmt.Errorf("the process ended early: %s", c.stderr)
	}
	return json.Unmarshal(b, v)
}

func (c *child) stop() {
	c.once.Do(func() {
		_ = c.in.Close()
		late := time.AfterFunc(patience, func() { _ = c.cmd.Process.Kill() })
		defer late.Stop()
		_, _ = io.Copy(io.Discard, c.out)
		_ = c.cmd.Wait() // how it ended does not matter: it has been told to
	})
}

// Serve starts the table's program role in a process of its own and returns when
// it takes connections. Its error wraps ErrAbsent when the machine does not have
// what the program needs. The caller stops it; at the latest the end of the
// Runner's context does.
func (r *Runner) Serve(ctx context.Context, role string, spec any) (*Process, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	c, err := spawn(nil, "serve", r.Table.Name, role, string(b))
	if err != nil {
		return nil, err
	}
	p := &Process{child: c}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = c.line(ctx, &p.Ready)
	switch {
	case err != nil:
	case p.Absent != "":
		err = fmt.Errorf("%w: %s", ErrAbsent, p.Absent)
	case p.Failed != "":
		err = errors.New(p.Failed)
	}
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	p.forget = context.AfterFunc(r.ctx, c.stop)
	return p, nil
}

// startTimeout is how long a server may take until it takes connections; a JVM
// on a busy machine needs a while.
const startTimeout = 60 * time.Second

// Load runs the table's load program role in a process of its own against the
// servers, and decodes its result into result.
func (r *Runner) Load(ctx context.Context, role string, spec, result any, servers ...*Process) error {
	raw, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	job := Job{Role: role, Spec: raw}
	for _, p := range servers {
		job.Servers = append(job.Servers, p.Ready)
	}
	b, err := json.Marshal(job)
	if err != nil {
		return err
	}
	c, err := spawn(r.traces.env(), "load", r.Table.Name, role, string(b))
	if err != nil {
		return err
	}
	defer c.stop()
	var o outcome
	if err := c.line(ctx, &o); err != nil {
		return fmt.Errorf("load %s: %w", role, err)
	}
	if o.Error != "" {
		return fmt.Errorf("load %s: %s", role, o.Error)
	}
	return json.Unmarshal(o.Result, result)
}

// tail keeps the end of what a child writes to its standard error.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
