//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/term"
)

// ptyShell is the real shell at a pseudo-terminal.
type ptyShell struct {
	*testing.T
	cmd   *exec.Cmd
	tty   *os.File // our end
	slave *os.File // its end, kept open to look at its mode
	got   chan []byte
	seen  []byte // what came and was not awaited yet
}

// startShell starts a shell, and waits until it is ready.
func startShell(t *testing.T, broker string, args ...string) *ptyShell {
	t.Helper()
	tty, slave, err := pty.Open()
	require.NoError(t, err)
	require.NoError(t, pty.Setsize(tty, &pty.Winsize{Rows: 40, Cols: 100}))
	s := &ptyShell{T: t, tty: tty, slave: slave, got: make(chan []byte, 1024)}
	s.cmd = exec.Command(realBinary(t), append([]string{"shell", "--broker", broker}, args...)...)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, slave, slave
	s.cmd.Env = append(os.Environ(), "TERM=xterm")
	if os.Getenv("XDG_STATE_HOME") == "" {
		s.cmd.Env = append(s.cmd.Env, "XDG_STATE_HOME="+t.TempDir())
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, s.cmd.Start())
	go func() {
		for {
			b := make([]byte, 4096)
			n, err := tty.Read(b)
			if n > 0 {
				s.got <- b[:n]
			}
			if err != nil {
				close(s.got)
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = slave.Close()
		_ = tty.Close()
	})
	s.expect("session [0-9a-f]{32}")
	return s
}

// control is what steers the terminal.
var control = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// expect waits until text that matches has come, and returns it.
func (s *ptyShell) expect(pattern string) string {
	s.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	for {
		text := control.ReplaceAll(s.seen, nil)
		if at := re.FindIndex(text); at != nil {
			found := string(text[at[0]:at[1]])
			s.seen = text[at[1]:]
			return found
		}
		select {
		case b, ok := <-s.got:
			if !ok {
				require.Failf(s, "the shell has ended", "awaited %q, seen %q", pattern, s.seen)
			}
			s.seen = append(s.seen, b...)
		case <-deadline:
			require.Failf(s, "it did not come", "awaited %q, seen %q", pattern, s.seen)
		}
	}
}

// send types.
func (s *ptyShell) send(keys string) {
	s.Helper()
	_, err := s.tty.WriteString(keys)
	require.NoError(s, err)
}

// run types a line, and waits for what it prints.
func (s *ptyShell) run(line, pattern string) string {
	s.Helper()
	s.send(line + "\r")
	s.expect(regexp.QuoteMeta(line)) // the echo
	return s.expect(pattern)
}

// leave waits for the shell's end and returns its exit status.
func (s *ptyShell) leave() int {
	s.Helper()
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case <-done:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		require.Fail(s, "the shell did not end")
		return -1
	}
}

// cooked says whether the terminal is as a shell's user needs it.
func (s *ptyShell) cooked() bool {
	before, err := term.MakeRaw(int(s.slave.Fd()))
	require.NoError(s, err)
	raw, err := term.GetState(int(s.slave.Fd()))
	require.NoError(s, err)
	require.NoError(s, term.Restore(int(s.slave.Fd()), before))
	return !assert.ObjectsAreEqual(before, raw)
}

// TestTwoShells is the walk through the tree with two command lines at a time.
func TestTwoShells(t *testing.T) {
	_, broker := startBroker(t)
	one, two := startShell(t, broker), startShell(t, broker)
	one.run("create /userService", "\r\n/userService\r\n")
	one.run("create /userService/userinfo data1 1", "\r\n/userService/userinfo\r\n")
	two.run("ls /", "\r\nuserService\r\n")
	two.run("ls /userService", "\r\nuserinfo\r\n")
	two.run("get /userService/userinfo", "\r\ndata1\r\n")
	two.run("set /userService/userinfo data2", "version 2\r\n")
	one.run("get /userService/userinfo", "\r\ndata2\r\n")
	one.run("stat /userService/userinfo", `version +2\r\n`)
	one.run("exists /userService/userinfo", "\r\ntrue\r\n")
	one.run("exists /userService/nobody", "\r\nfalse\r\n")
	one.run("delete /userService", "has 1 children")
	one.run("delete /userService/userinfo", "deleted /userService/userinfo\r\n")
	one.run("delete /userService", "deleted /userService\r\n")
	two.run("get /userService", "there is no node")

	one.run("create /node02 data 2", "\r\n/node02\r\n")
	id := one.run("session", "[0-9a-f]{32}")
	two.run("ls /", "\r\nnode02\r\n")
	two.run("stat /node02", `session +`+id)
	two.send("watch / --children\r")
	two.run("exists /node02", "\r\ntrue\r\n") // after the watch
	one.send("exit\r")
	assert.Zero(t, one.leave())
	two.expect("deleted /node02\r\n")
	two.run("exists /node02", "\r\nfalse\r\n")
	two.send("\x04") // Ctrl-D
	assert.Zero(t, two.leave())
}

func TestNodesOfAKilledShellGoWithItsSession(t *testing.T) {
	_, broker := startBroker(t, "--listen", "127.0.0.1:0", "--session-interval", "600ms", "--session-misses", "5")
	one, two := startShell(t, broker), startShell(t, broker)
	one.run("create -s /mine data", "\r\n/mine\r\n")
	two.send("watch /mine\r")
	two.run("exists /mine", "\r\ntrue\r\n")
	require.NoError(t, one.cmd.Process.Signal(syscall.SIGKILL))
	two.expect("deleted /mine\r\n")
	two.send("exit\r")
	assert.Zero(t, two.leave())
}

func TestShellCompletesPathsAndCommands(t *testing.T) {
	_, broker := startBroker(t)
	s := startShell(t, broker)
	s.run("create /config", "\r\n/config\r\n")
	s.run("create /config/alpha 1", "\r\n/config/alpha\r\n")
	s.run("create /config/beta 2", "\r\n/config/beta\r\n")
	s.send("get /con\t")
	s.expect("get /config/")
	s.send("\t")
	s.send("\t")
	s.expect("/config/alpha +/config/beta")
	s.send("b\t\r")
	s.expect("\r\n2\r\n")
	s.send("ex\t")
	s.expect("ex")
	s.send("s\t/config\r")
	s.expect("\r\ntrue\r\n")
	s.send("\x1b[A\r") // the line before
	s.expect("exists /config")
	s.expect("\r\ntrue\r\n")
	s.send("garbage\x03") // Ctrl-C drops the line
	s.run("ls", "\r\nconfig\r\n")
	s.send("exit\r")
	assert.Zero(t, s.leave())
}

func TestShellGivesTheTerminalBack(t *testing.T) {
	var broker *proc
	for name, end := range map[string]func(*ptyShell){
		"exit":    func(s *ptyShell) { s.send("exit\r") },
		"Ctrl-D":  func(s *ptyShell) { s.send("\x04") },
		"SIGTERM": func(s *ptyShell) { _ = s.cmd.Process.Signal(syscall.SIGTERM) },
		"SIGHUP":  func(s *ptyShell) { _ = s.cmd.Process.Signal(syscall.SIGHUP) },
		"exit without a broker": func(s *ptyShell) {
			broker.signal(syscall.SIGKILL)
			broker.wait()
			s.expect("the connection is lost")
			s.send("exit\r")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var addr string
			broker, addr = startBroker(t)
			s := startShell(t, addr)
			require.False(t, s.cooked(), "it is in raw mode while it is used")
			end(s)
			s.leave()
			assert.True(t, s.cooked())
		})
	}
}

func TestShellGoesOnWhenItsBrokerIsBack(t *testing.T) {
	data := t.TempDir()
	first, broker := startBroker(t, "--listen", "127.0.0.1:0", "--data", data)
	s := startShell(t, broker)
	id := s.run("session", "[0-9a-f]{32}")
	s.run("create /mine data 2", "\r\n/mine\r\n")
	first.signal(syscall.SIGKILL)
	first.wait()
	s.expect("the connection is lost; connecting again")
	startBroker(t, "--listen", broker, "--data", data)
	s.expect("connected again")
	s.run("stat /mine", "session +"+id)

	first, broker = startBroker(t)
	s = startShell(t, broker)
	s.run("create /mine data 2", "\r\n/mine\r\n")
	first.signal(syscall.SIGKILL)
	first.wait()
	startBroker(t, "--listen", broker)
	s.expect("session [0-9a-f]{32} has ended, and its nodes are gone")
	s.run("exists /mine", "\r\nfalse\r\n")
}

func TestHistorySurvivesTheShell(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	_, broker := startBroker(t)
	s := startShell(t, broker)
	s.run("create /remembered", "\r\n/remembered\r\n")
	s.send("exit\r")
	require.Zero(t, s.leave())
	text, err := os.ReadFile(filepath.Join(os.Getenv("XDG_STATE_HOME"), "trefoil", "history"))
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(text, []byte("create /remembered\n")), "%q", text)
	s = startShell(t, broker)
	s.send("\x1b[A\x1b[A\r")
	s.expect(`"/remembered" is there already`)
}

func TestSessionNodeOfACommandGoesWithIt(t *testing.T) {
	_, broker := startBroker(t)
	t.Setenv("TREFOIL_BROKER", broker)
	watch := start(t, "node", "watch", "/", "--children")
	watch.lineWith(watch.err, "watching / from revision")
	holder := start(t, "node", "create", "/mine", "data", "--session")
	require.Equal(t, "/mine", holder.line(holder.out))
	require.Equal(t, "created /mine: data", watch.line(watch.out))
	holder.signal(os.Interrupt)
	assert.Equal(t, exitOK, holder.wait())
	require.Equal(t, "deleted /mine", watch.line(watch.out))
	watch.signal(os.Interrupt)
	assert.Equal(t, exitOK, watch.wait())
	assert.Equal(t, 1, strings.Count(watch.err.text(), "\n"))
}

func TestInterruptEndsACommandBehindWhatWasTypedAhead(t *testing.T) {
	broker, addr := startBroker(t)
	s := startShell(t, addr)
	broker.signal(syscall.SIGSTOP)
	defer broker.signal(syscall.SIGCONT)
	s.send("sync --timeout 1h\r")
	s.expect("sync --timeout 1h\r\n")
	pressed, stop := make(chan struct{}), make(chan struct{})
	go func() { // again and again: the command begins a moment after its echo
		defer close(pressed)
		again := time.NewTicker(50 * time.Millisecond)
		defer again.Stop()
		for {
			_, _ = s.tty.WriteString("typed ahead\x03")
			select {
			case <-again.C:
			case <-stop:
				return
			}
		}
	}()
	s.expect("cancel")
	close(stop)
	<-pressed
	broker.signal(syscall.SIGCONT)
	s.run("exists /", "\r\ntrue\r\n")
}

func TestChangesDoNotDisturbTheLineThatIsTyped(t *testing.T) {
	_, broker := startBroker(t)
	one, two := startShell(t, broker), startShell(t, broker)
	one.run("watch / --children", "trefoil> ")
	one.send("exists /se")
	one.expect("exists /se")
	two.run("create /seen x", "\r\n/seen\r\n")
	one.expect("created /seen: x\r\n")
	one.expect("trefoil> exists /se")
	one.send("en\r")
	one.expect("\r\ntrue\r\n")
}

func TestHangupEndsTheSessionAtOnce(t *testing.T) {
	_, broker := startBroker(t, "--listen", "127.0.0.1:0", "--session-interval", "1h")
	one, two := startShell(t, broker), startShell(t, broker)
	one.run("create -s /mine data", "\r\n/mine\r\n")
	two.run("watch /mine", "trefoil> ")
	require.NoError(t, one.cmd.Process.Signal(syscall.SIGHUP))
	two.expect("deleted /mine\r\n")
}
