package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// demoPatience is how long the demo waits for anything that takes milliseconds
// on a machine that is not overloaded.
const demoPatience = 30 * time.Second

// process is a process that the demo started. It ends when its standard input
// is closed, which also happens when the demo dies.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string // where it listens
	log   tail   // its standard error; to be read when it has ended

	mu     sync.Mutex
	doom   bool          // it is being ended
	frozen bool          // it cannot end by itself any more
	ended  chan struct{} // closed when it has ended
}

// startProcess starts this program once more and waits until it says that it is
// ready.
func startProcess(ctx context.Context, name string, args ...string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's file: %w", err)
	}
	p := &process{name: name, cmd: exec.Command(exe, args...), ended: make(chan struct{})}
	ownGroup(p.cmd)
	ready := &firstLine{line: make(chan []byte, 1)}
	p.cmd.Stdout, p.cmd.Stderr = ready, &p.log
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	if err := p.waitReady(ctx, ready); err != nil {
		p.kill()
		<-p.ended
		return nil, err
	}
	return p, nil
}

func (p *process) waitReady(ctx context.Context, ready *firstLine) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	select {
	case line := <-ready.line:
		var l listening
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("the %s said %q instead of where it listens", p.name, line)
		}
		p.addr = l.Addr
		return nil
	case <-p.ended:
		return fmt.Errorf("the %s ended at once: %s", p.name, p.log.line())
	case <-ctx.Done():
		return fmt.Errorf("the %s did not get ready: %w", p.name, ctx.Err())
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) doomed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doom
}

// freeze stops the process where it is, to be killed later.
func (p *process) freeze() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doom, p.frozen = true, true
	return freeze(p.cmd.Process)
}

// kill ends the process at once.
func (p *process) kill() {
	p.mu.Lock()
	p.doom = true
	p.mu.Unlock()
	_ = p.cmd.Process.Kill() // an error says that it has ended
}

// stop asks the process to end, kills it when it does not, and returns when it
// is gone.
func (p *process) stop(patience time.Duration) {
	p.mu.Lock()
	p.doom = true
	if p.frozen {
		patience = 0
	}
	p.mu.Unlock()
	_ = p.stdin.Close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.kill()
		<-p.ended
	}
}

// firstLine catches the first line that is written to it and drops the rest.
type firstLine struct {
	buf  []byte
	line chan []byte // gets the line; has room for it
	done bool
}

// Write takes what a process prints.
func (f *firstLine) Write(p []byte) (int, error) {
	const longest = 4096
	if !f.done {
		f.buf = append(f.buf, p[:min(len(p), longest)]...)
		if line, _, found := bytes.Cut(f.buf, []byte("\n")); found || len(f.buf) > longest {
			f.done = true
			f.line <- line
		}
	}
	return len(p), nil
}

// team is the demo's broker and providers.
type team struct {
	broker    *process
	providers []*process
}

const demoProviders = 3

// startTeam starts the broker and then the providers. stop it, also after an error.
func startTeam(ctx context.Context) (*team, error) {
	t := &team{}
	var err error
	if t.broker, err = startProcess(ctx, "broker", "broker", "--listen", "127.0.0.1:0", "--json", "--stop-on-eof", "--log-level", "error"); err != nil {
		return t, err
	}
	for i := range demoProviders {
		p, err := startProcess(ctx, fmt.Sprintf("provider %d", i+1), "demo-provider", "--broker", t.broker.addr, "--json", "--stop-on-eof", "--log-level", "error")
		if err != nil {
			return t, err
		}
		t.providers = append(t.providers, p)
	}
	return t, nil
}

func (t *team) all() []*process { return append([]*process{t.broker}, t.providers...) }

// watch calls lost when a process ends that nobody ended, until ctx ends.
func (t *team) watch(ctx context.Context, lost func(error)) {
	for _, p := range t.all() {
		go func() {
			select {
			case <-p.ended:
				if !p.doomed() {
					lost(fmt.Errorf("the %s, pid %d, ended by itself: %s", p.name, p.pid(), p.log.line()))
				}
			case <-ctx.Done():
			}
		}()
	}
}

// stop ends all processes, the broker last, and returns when they are gone.
func (t *team) stop() {
	const patience = 5 * time.Second
	var providers sync.WaitGroup
	for _, p := range t.providers {
		providers.Go(func() { p.stop(patience) })
	}
	providers.Wait()
	if t.broker != nil {
		t.broker.stop(patience)
	}
}
