package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trefoil/client"
)

// patience bounds every wait of the tests. Nothing comes near it; a test that
// would hang fails instead.
const patience = 60 * time.Second

// helperEnv makes this test binary act as a helper process instead of running tests.
const helperEnv = "TREFOIL_TEST_HELPER"

// helpers are what this binary can act as.
var helpers = map[string]func(args []string, stdin io.Reader, stdout io.Writer) int{
	"connections": connectionsHelper,
	"owners":      ownersHelper,
	"watchers":    watchersHelper,
	"providers":   providersHelper,
	"holder":      holderHelper,
	"servant":     servantHelper,
	"worker":      workerHelper,
}

func TestMain(m *testing.M) {
	if help, ok := helpers[os.Getenv(helperEnv)]; ok {
		os.Exit(help(os.Args[1:], os.Stdin, os.Stdout))
	}
	dir, err := os.MkdirTemp("", "trefoil-cmd-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	builds.dir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// builds holds the real binary, built when a test first asks for it.
var builds struct {
	dir         string
	raced, fast sync.Once
	err         [2]error
}

// realBinary is the real binary, with the race detector when the tests have it.
func realBinary(t *testing.T) string {
	t.Helper()
	if !raceEnabled {
		return fastBinary(t)
	}
	builds.raced.Do(func() { builds.err[0] = build("raced", "-race") })
	require.NoError(t, builds.err[0])
	return filepath.Join(builds.dir, "raced"+exeSuffix())
}

// fastBinary is the real binary without the race detector.
func fastBinary(t *testing.T) string {
	t.Helper()
	builds.fast.Do(func() { builds.err[1] = build("fast") })
	require.NoError(t, builds.err[1])
	return filepath.Join(builds.dir, "fast"+exeSuffix())
}

func build(name string, flags ...string) error {
	args := append([]string{"build", "-o", filepath.Join(builds.dir, name+exeSuffix())}, flags...)
	out, err := exec.Command("go", append(args, ".")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return nil
}

func exeSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

// proc is a process that a test started. It is killed, by its own id, when the
// test ends.
type proc struct {
	t        *testing.T
	name     string
	cmd      *exec.Cmd
	stdin    io.WriteCloser
	out, err *stream
	ended    chan struct{}

	oneOfMany bool // of interest only when it has complained
}

// stream is what a process has printed, line by line.
type stream struct {
	lines chan string

	mu  sync.Mutex
	all bytes.Buffer
}

func (s *stream) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func (s *stream) read(r io.Reader) {
	defer close(s.lines)
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		s.mu.Lock()
		s.all.WriteString(scanner.Text() + "\n")
		s.mu.Unlock()
		s.lines <- scanner.Text()
	}
}

// start starts the real binary.
func start(t *testing.T, args ...string) *proc {
	t.Helper()
	return startCommand(t, exec.Command(realBinary(t), args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *proc {
	t.Helper()
	p := &proc{t: t, name: strings.Join(cmd.Args[1:], " "), cmd: cmd, ended: make(chan struct{})}
	// A process with the race detector would take a second to exit.
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), cmd.Env...)
	var err error
	p.stdin, err = cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	const room = 100_000 // lines that a test does not read
	p.out, p.err = &stream{lines: make(chan string, room)}, &stream{lines: make(chan string, room)}
	require.NoError(t, cmd.Start())
	var reading sync.WaitGroup
	reading.Go(func() { p.out.read(stdout) })
	reading.Go(func() { p.err.read(stderr) })
	go func() {
		reading.Wait()
		_ = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		if t.Failed() && !(p.oneOfMany && p.err.text() == "") {
			t.Logf("%s\nstdout:\n%.2000s\nstderr:\n%.4000s", p.name, p.out.text(), p.err.text())
		}
	})
	return p
}

// line is the next line of a stream of the process.
func (p *proc) line(s *stream) string {
	p.t.Helper()
	select {
	case line, ok := <-s.lines:
		require.True(p.t, ok, "%s ended before it printed the line", p.name)
		return line
	case <-time.After(patience):
		require.Fail(p.t, "no line", "%s printed none", p.name)
		return ""
	}
}

// lineWith is the next line that contains text.
func (p *proc) lineWith(s *stream, text string) string {
	p.t.Helper()
	for {
		if line := p.line(s); strings.Contains(line, text) {
			return line
		}
	}
}

// wait is the exit status of a process that ends by itself, or -1 after a signal.
func (p *proc) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		require.Fail(p.t, "still running", p.name)
		return 0
	}
}

func (p *proc) signal(sig os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(sig))
}

// startBroker starts a broker and returns its address.
func startBroker(t *testing.T, args ...string) (p *proc, addr string) {
	t.Helper()
	if len(args) == 0 {
		args = []string{"--listen", "127.0.0.1:0"}
	}
	p = start(t, append([]string{"broker"}, args...)...)
	addr, ok := strings.CutPrefix(p.line(p.out), "listening on ")
	require.True(t, ok)
	return p, addr
}

// startProvider starts a provider of a method and returns its address.
func startProvider(t *testing.T, broker, method, command string, args ...string) (p *proc, addr string) {
	t.Helper()
	p = start(t, append([]string{"provide", method, "--exec", command, "--broker", broker}, args...)...)
	addr, ok := strings.CutPrefix(p.line(p.out), "providing "+method+" on ")
	require.True(t, ok)
	return p, addr
}

// finished is what a process that ended by itself did.
type finished struct {
	code     int
	out, err string
}

// do runs the real binary to its end.
func do(t *testing.T, args ...string) finished {
	t.Helper()
	return doWith(t, "", args...)
}

// doWith is do with a text as standard input.
func doWith(t *testing.T, stdin string, args ...string) finished {
	t.Helper()
	p := start(t, args...)
	_, err := io.WriteString(p.stdin, stdin)
	if !errors.Is(err, os.ErrClosed) {
		_ = p.stdin.Close()
	}
	code := p.wait()
	return finished{code, p.out.text(), p.err.text()}
}

// inProcess runs the program in the test's own process.
func inProcess(t *testing.T, stdin string, args ...string) finished {
	t.Helper()
	var out, problems bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	code := run(ctx, args, strings.NewReader(stdin), &out, &problems)
	return finished{code, out.String(), problems.String()}
}

// dialBroker is a client of a broker that may go away.
func dialBroker(t *testing.T, broker string, opts ...client.Option) (*client.Conn, *client.NodeClient) {
	t.Helper()
	conn, err := client.Dial(t.Context(), broker, append([]client.Option{
		client.WithLogger(silent), client.WithTimeout(patience), client.WithConnectTimeout(patience), client.WithHelloTimeout(patience),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn, client.NewNodeClient(conn)
}

// startHelper starts this test binary as one of its helpers.
func startHelper(t *testing.T, kind string, args ...string) *proc {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = []string{helperEnv + "=" + kind}
	return startCommand(t, cmd)
}
