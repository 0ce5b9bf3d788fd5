package harness

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
)

// Control speaks to one serving process. Not safe for concurrent use; open one
// per goroutine.
type Control struct {
	conn net.Conn
	in   *json.Decoder
	out  *json.Encoder
}

// OpenControl connects to a serving process' control address. The caller closes it.
func OpenControl(ctx context.Context, r Ready) (*Control, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", r.Control)
	if err != nil {
		return nil, err
	}
	return &Control{conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}, nil
}

// Close closes the connection.
func (c *Control) Close() error { return c.conn.Close() }

// Command runs a command in the serving process and decodes its result into
// result, unless that is nil. After a ctx that ended the Control cannot be used
// any more.
func (c *Control) Command(ctx context.Context, name string, arg, result any) error {
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	raw, err := json.Marshal(arg)
	if err != nil {
		return err
	}
	if err := c.out.Encode(command{Name: name, Arg: raw}); err != nil {
		return fmt.Errorf("command %s: %w", name, err)
	}
	var o outcome
	if err := c.in.Decode(&o); err != nil {
		return fmt.Errorf("command %s: %w", name, err)
	}
	if o.Error != "" {
		return fmt.Errorf("command %s: %s", name, o.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(o.Result, result)
}

// Command opens a Control, runs one command and closes it.
func Command(ctx context.Context, r Ready, name string, arg, result any) error {
	c, err := OpenControl(ctx, r)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Command(ctx, name, arg, result)
}

// Snapshot asks a serving process what it has used so far. With settle it
// collects garbage and gives memory back to the system first.
func (c *Control) Snapshot(ctx context.Context, settle bool) (Snapshot, error) {
	var s Snapshot
	err := c.Command(ctx, cmdSnapshot, settle, &s)
	return s, err
}

const cmdSnapshot = "snapshot"

type command struct {
	Name string          `json:"name"`
	Arg  json.RawMessage `json:"arg,omitempty"`
}

// listenControl answers commands for a served program until the listener closes.
func listenControl(ctx context.Context, s *Served) (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &controlled{Served: s}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go c.answer(ctx, conn)
		}
	}()
	return ln, nil
}

// controlled is a served program that takes commands.
type controlled struct {
	*Served
	profiler profiler
}

// answer serves one control connection.
func (s *controlled) answer(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	in, out := json.NewDecoder(bufio.NewReader(conn)), json.NewEncoder(conn)
	for {
		var cmd command
		if in.Decode(&cmd) != nil {
			return
		}
		if out.Encode(s.perform(ctx, cmd)) != nil {
			return
		}
	}
}

func (s *controlled) perform(ctx context.Context, cmd command) outcome {
	result, err := s.run(ctx, cmd)
	if err != nil {
		return outcome{Error: err.Error()}
	}
	b, err := json.Marshal(result)
	if err != nil {
		return outcome{Error: err.Error()}
	}
	return outcome{Result: b}
}

func (s *controlled) run(ctx context.Context, cmd command) (any, error) {
	switch cmd.Name {
	case cmdSnapshot:
		return s.snapshot(ctx, cmd)
	case cmdProfile, cmdProfileEnd:
		return s.profiler.command(cmd)
	}
	fn, ok := s.Commands[cmd.Name]
	if !ok {
		return nil, errors.New("this program has no such command")
	}
	return fn(ctx, cmd.Arg)
}

// snapshot tells what the accounted processes have used.
func (s *controlled) snapshot(ctx context.Context, cmd command) (any, error) {
	var settle bool
	if err := json.Unmarshal(cmd.Arg, &settle); err != nil {
		return nil, err
	}
	pids := pidsOf(s.Served)
	snap, err := snapshot(pids, slices.Equal(pids, []int{os.Getpid()}), settle)
	if err != nil || !settle || s.Live == nil {
		return snap, err
	}
	snap.HeapKiB, err = s.Live(ctx)
	snap.Go = err == nil
	return snap, err
}

func notReady(err error) Ready {
	if errors.Is(err, ErrAbsent) {
		return Ready{Absent: err.Error()}
	}
	return Ready{Failed: err.Error()}
}
