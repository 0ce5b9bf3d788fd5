// Package program starts servers that are no part of this executable, on the
// loopback and with a directory of their own, and ends them for certain.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"trefoil/bench/internal/harness"
)

// patience is how long a program may take until it takes connections, and to end.
const (
	startPatience = time.Minute
	endPatience   = 3 * time.Second
)

// Find returns the path of a program, or an error that wraps harness.ErrAbsent
// and names the Debian package that has it.
func Find(name, debianPackage string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", harness.Absent("there is no %s; apt-get install %s brings it", name, debianPackage)
	}
	return path, nil
}

// FreePort returns an address of the loopback where nobody listens now.
func FreePort() (addr, port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	addr = l.Addr().String()
	_, port, err = net.SplitHostPort(addr)
	return addr, port, err
}

// Serve starts a program and returns when it takes connections at addr. When it
// is told to stop, it ends the program and removes dir. The program does not
// outlive this process, however that ends.
func Serve(ctx context.Context, dir, addr, name string, args ...string) (*harness.Served, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	tieToUs(cmd)
	ended, err := start(cmd)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	var once sync.Once
	stop := func() {
		once.Do(func() {
			end(cmd.Process, ended)
			_ = os.RemoveAll(dir)
		})
	}
	if err := answers(ctx, addr, ended); err != nil {
		stop()
		return nil, fmt.Errorf("%s: %w; it said: %s", name, err, bytes.TrimSpace(said.Bytes()))
	}
	return &harness.Served{Addr: addr, PIDs: []int{cmd.Process.Pid}, Stop: stop}, nil
}

// start starts the program and waits for its end on a thread that lives as long:
// the kernel ends the program when the thread that started it ends.
func start(cmd *exec.Cmd) (ended <-chan struct{}, err error) {
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is told to end, how it does so does not matter
		}
	}()
	return done, <-started
}

func end(p *os.Process, ended <-chan struct{}) {
	_ = p.Signal(syscall.SIGTERM) // it fails only when the process has ended
	select {
	case <-ended:
	case <-time.After(endPatience):
		_ = p.Kill()
		<-ended
	}
}

// answers waits until somebody listens at addr.
func answers(ctx context.Context, addr string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-again.C:
		case <-ended:
			return errors.New("it ended early")
		case <-ctx.Done():
			return fmt.Errorf("it takes no connections: %w", err)
		}
	}
}

// TempDir makes a directory for files that had better stay in memory: in the
// machine's shared memory where there is one.
func TempDir(prefix string) (string, error) {
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		return os.MkdirTemp(memory, prefix)
	}
	return os.MkdirTemp("", prefix)
}
