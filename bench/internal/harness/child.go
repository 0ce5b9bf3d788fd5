package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// RunServe is the child side of Runner.Serve: it starts the table's program role,
// prints its Ready and lives until standard input ends or a signal comes.
func RunServe(ctx context.Context, t Table, role, spec string, in io.Reader, out io.Writer) error {
	ctx, stop := untilEOF(ctx, in)
	defer stop()
	serve, ok := t.Serve[role]
	if !ok {
		return fmt.Errorf("table %s has no program %q to serve", t.Name, role)
	}
	served, err := serve(ctx, json.RawMessage(spec))
	if err != nil {
		return json.NewEncoder(out).Encode(notReady(err))
	}
	if served.Stop != nil {
		defer served.Stop()
	}
	control, err := listenControl(ctx, served)
	if err != nil {
		return json.NewEncoder(out).Encode(notReady(err))
	}
	defer control.Close()
	ready := Ready{Addr: served.Addr, Control: control.Addr().String(), PID: os.Getpid(), PIDs: pidsOf(served), More: served.More}
	if err := json.NewEncoder(out).Encode(ready); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// RunLoad is the child side of Runner.Load.
func RunLoad(ctx context.Context, t Table, role, job string, in io.Reader, out io.Writer) error {
	ctx, stop := untilEOF(ctx, in)
	defer stop()
	load, ok := t.Load[role]
	if !ok {
		return fmt.Errorf("table %s has no program %q to load", t.Name, role)
	}
	j := &Job{}
	if err := json.Unmarshal([]byte(job), j); err != nil {
		return fmt.Errorf("the job is not JSON: %w", err)
	}
	result, err := load(ctx, j)
	if err != nil {
		return json.NewEncoder(out).Encode(outcome{Error: err.Error()})
	}
	b, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(outcome{Result: b})
}

// outcome is the line that a load program prints.
type outcome struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// untilEOF ends the context when the parent closes our standard input, which the
// kernel does for a parent that dies: no child outlives it.
func untilEOF(ctx context.Context, in io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	return ctx, cancel
}

func pidsOf(s *Served) []int {
	if len(s.PIDs) > 0 {
		return s.PIDs
	}
	return []int{os.Getpid()}
}
