package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"trefoil/abstract"
)

const (
	// maxErrorLine is how much of a command's last line of standard error goes
	// to the caller.
	maxErrorLine = 1024
	// pipeGrace is how long the output of a command that has ended is waited
	// for: a process it left behind may hold the pipe open.
	pipeGrace = 500 * time.Millisecond
)

// commands runs a shell command for every request. Safe for concurrent use.
type commands struct {
	text      string
	timeout   time.Duration
	maxOutput int
	log       *slog.Logger

	ctx    context.Context // ends with stop
	cancel context.CancelFunc
	mu     sync.Mutex // makes sure that none is added once stop waits
	run    sync.WaitGroup
}

func newCommands(text string, timeout time.Duration, maxOutput int, log *slog.Logger) *commands {
	ctx, cancel := context.WithCancel(context.Background())
	return &commands{text: text, timeout: timeout, maxOutput: maxOutput, log: log, ctx: ctx, cancel: cancel}
}

// stop kills what still runs, and returns when it is gone.
func (c *commands) stop() {
	c.mu.Lock()
	c.cancel()
	c.mu.Unlock()
	c.run.Wait()
}

func (c *commands) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.run.Add(1)
	return true
}

var (
	errTooMuchOutput = errors.New("too much output")
	errStopped       = abstract.Errorf(abstract.Draining, "the provider has stopped; call another one")
)

// check runs the command to see whether it succeeds.
func (c *commands) check(ctx context.Context) error {
	_, err := c.handle(ctx, json.RawMessage("{}"))
	return err
}

// handle runs the command for one request; it is a server.Handler.
func (c *commands) handle(ctx context.Context, params json.RawMessage) (any, error) {
	if !c.begin() {
		return nil, errStopped
	}
	defer c.run.Done()
	ctx, cancelTimeout := context.WithTimeout(ctx, c.timeout)
	defer cancelTimeout()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(errStopped) })()

	cmd := shell(ctx, c.text)
	cmd.WaitDelay = pipeGrace
	cmd.Stdin = bytes.NewReader(append(bytes.Clone(params), '\n'))
	out := &limited{left: c.maxOutput, full: func() { cancel(errTooMuchOutput) }}
	problems := &tail{}
	cmd.Stdout, cmd.Stderr = out, problems
	err := cmd.Run()
	if cause := context.Cause(ctx); cause != nil {
		return nil, c.killed(cause)
	}
	if errors.Is(err, exec.ErrWaitDelay) { // it has ended well, but a process that it left behind holds its output
		_ = killGroup(cmd.Process)
		err = nil
	}
	if err != nil {
		return nil, c.failed(err, problems.line())
	}
	return result(out.buf.Bytes()), nil
}

// killed is the error of a command that did not end by itself.
func (c *commands) killed(cause error) error {
	switch {
	case errors.Is(cause, errTooMuchOutput):
		return abstract.Errorf(abstract.TooLarge, "the command wrote more than %d bytes and was stopped", c.maxOutput)
	case errors.Is(cause, context.DeadlineExceeded):
		return abstract.Errorf(abstract.Timeout, "the command did not end in time and was killed")
	}
	return cause
}

// failed is the error of a command that ended badly.
func (c *commands) failed(err error, last string) error {
	if last == "" {
		last = "the command failed: " + err.Error()
	}
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		c.log.Error("the command could not be run", "err", err)
		last = "the command could not be run"
	}
	return abstract.Errorf(abstract.Internal, "%s", last)
}

// result is what a command's standard output means.
func result(out []byte) json.RawMessage {
	if len(out) == 0 {
		return json.RawMessage("{}")
	}
	if utf8.Valid(out) && json.Valid(out) {
		return bytes.TrimSpace(out)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(out), "\n"), "\r")
	encoded, err := json.Marshal(strings.ToValidUTF8(text, "\uFFFD"))
	if err != nil {
		panic(fmt.Sprintf("a string did not encode: %v", err)) // strings always do
	}
	return encoded
}

// limited is a buffer that takes so much and no more.
type limited struct {
	buf  bytes.Buffer
	left int
	full func() // called when something did not fit
}

// Write takes p, or says that there is no room for it.
func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		l.left = 0
		l.full()
		return 0, errTooMuchOutput
	}
	l.left -= len(p)
	return l.buf.Write(p)
}

// tail keeps the end of what is written to it.
type tail struct{ buf []byte }

// Write keeps the end of p.
func (t *tail) Write(p []byte) (int, error) {
	const keep = 4 * maxErrorLine
	t.buf = append(t.buf, p[max(0, len(p)-keep):]...)
	if over := len(t.buf) - keep; over > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[over:])]
	}
	return len(p), nil
}

// line is the last line that is not empty.
func (t *tail) line() string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.buf), "\uFFFD"))
	text = strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	if len(text) > maxErrorLine {
		text = strings.ToValidUTF8(text[:maxErrorLine], "")
	}
	return text
}
