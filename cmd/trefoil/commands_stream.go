package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"

	"trefoil/abstract"
)

// stream runs the command for one stream; it is a server.StreamHandler. What comes waits
// while the command does not read, and the command waits while nobody reads what it writes.
func (c *commands) stream(params json.RawMessage, s abstract.Stream) error {
	if !c.begin() {
		return errStopped
	}
	defer c.run.Done()
	ctx, cancel := context.WithCancelCause(s.Context())
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(errStopped) })()

	cmd := shell(ctx, c.text)
	cmd.WaitDelay = pipeGrace
	in, err := cmd.StdinPipe()
	if err != nil {
		return c.failed(err, "")
	}
	out := &messages{stream: s, most: c.maxOutput, full: func() { cancel(errTooMuchOutput) }}
	problems := &tail{}
	cmd.Stdout, cmd.Stderr = out, problems
	if err := cmd.Start(); err != nil {
		return c.failed(err, "")
	}
	c.run.Add(1)
	go func() {
		defer c.run.Done()
		feed(in, params, s)
	}()
	err = cmd.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return c.killed(cause)
	}
	if errors.Is(err, exec.ErrWaitDelay) { // it has ended well, but a process that it left behind holds its output
		_ = killGroup(cmd.Process)
		err = nil
	}
	switch {
	case out.err != nil:
		return out.err
	case err != nil:
		return c.failed(err, problems.line())
	}
	return out.last()
}

// feed writes the parameters and the messages that come to a command, a line each. It
// returns when the stream has ended, at the latest with its handler.
func feed(in io.WriteCloser, params json.RawMessage, s abstract.Stream) {
	defer in.Close()
	for line := params; ; {
		if _, err := in.Write(append(bytes.ReplaceAll(line, []byte("\n"), []byte(" ")), '\n')); err != nil {
			return // it does not read any more
		}
		if s.Receive(&line) != nil {
			return
		}
	}
}

// messages sends each line that is written to it.
type messages struct {
	stream abstract.Stream
	most   int
	full   func() // called when a line is too long
	line   []byte // what of one has come
	err    error  // why nothing more can be sent
}

// Write sends the lines that p ends.
func (m *messages) Write(p []byte) (int, error) {
	for rest := p; ; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		m.line = append(m.line, line...)
		if len(m.line) > m.most {
			m.full()
			return 0, errTooMuchOutput
		}
		if !ended {
			return len(p), nil
		}
		if m.err = m.send(); m.err != nil {
			return 0, m.err
		}
		rest = after
	}
}

// last sends what was written without an end of line.
func (m *messages) last() error {
	if len(m.line) == 0 {
		return nil
	}
	return m.send()
}

func (m *messages) send() error {
	line := bytes.TrimSuffix(m.line, []byte("\r"))
	m.line = m.line[:0]
	return m.stream.Send(messageOf(line))
}

// messageOf is what a line means as a message.
func messageOf(line []byte) json.RawMessage {
	if len(line) == 0 {
		return json.RawMessage(`""`)
	}
	return json.RawMessage(bytes.Clone(result(line)))
}
