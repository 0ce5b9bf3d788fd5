//go:build unix

package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// fifo makes a named pipe and opens it as soon as somebody opens the other side.
// Reading from it ends when the last of those is gone.
func fifo(t *testing.T) (path string, opened <-chan *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	files := make(chan *os.File, 1)
	go func() {
		if f, err := os.Open(path); err == nil {
			files <- f
		}
	}()
	return path, files
}

// waitOpen waits for a named pipe's other side.
func waitOpen(t *testing.T, opened <-chan *os.File) *os.File {
	t.Helper()
	select {
	case f := <-opened:
		t.Cleanup(func() { _ = f.Close() })
		return f
	case <-time.After(patience):
		require.Fail(t, "nobody opened the named pipe")
		return nil
	}
}

// waitEnd waits until nobody has a named pipe's other side open.
func waitEnd(t *testing.T, f *os.File) {
	t.Helper()
	require.NoError(t, f.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.Copy(io.Discard, f)
	require.NoError(t, err)
}

func TestParametersAreTheCommandsInput(t *testing.T) {
	c := testCommands(t, "cat", patience)
	got, err := handled(t.Context(), t, c, `{"n":9007199254740993}`)
	require.NoError(t, err)
	assert.Equal(t, `{"n":9007199254740993}`, got)
}

func TestCommandThatReadsNothingSucceeds(t *testing.T) {
	c := testCommands(t, "echo ok", patience)
	big := `{"x":"` + strings.Repeat("x", 1<<20) + `"}`
	got, err := handled(t.Context(), t, c, big)
	require.NoError(t, err)
	assert.Equal(t, `"ok"`, got)
}

func TestFailedCommandAnswersWithItsLastErrorLine(t *testing.T) {
	for name, c := range map[string]struct{ command, want string }{
		"a line":    {"echo first >&2; echo boom >&2; exit 3", "boom"},
		"no line":   {"exit 3", "the command failed: exit status 3"},
		"killed":    {"kill -9 $$", "the command failed: signal: killed"},
		"no output": {"echo result; echo boom >&2; false", "boom"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := handled(t.Context(), t, testCommands(t, c.command, patience), "{}")
			require.ErrorIs(t, err, abstract.ErrInternal)
			var e *abstract.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.want, e.Message)
		})
	}
}

func TestTooMuchOutputStopsTheCommand(t *testing.T) {
	c := testCommands(t, "yes", patience) // it would never end
	_, err := handled(t.Context(), t, c, "{}")
	require.ErrorIs(t, err, abstract.ErrTooLarge)
}

func TestWholeProcessGroupDiesAtTheDeadline(t *testing.T) {
	path, opened := fifo(t)
	// The grandchild holds the named pipe open for as long as it lives.
	c := testCommands(t, "sleep 1000 >"+path+" & wait", patience)
	ctx, cancel := context.WithCancelCause(t.Context())
	outcome := make(chan error, 1)
	go func() {
		_, err := handled(ctx, t, c, "{}")
		outcome <- err
	}()
	alive := waitOpen(t, opened)
	cancel(context.DeadlineExceeded)
	require.ErrorIs(t, <-outcome, abstract.ErrTimeout)
	waitEnd(t, alive)
}

func TestOwnTimeoutKillsWhatNoCallerLimits(t *testing.T) {
	c := testCommands(t, "sleep 1000", 10*time.Millisecond)
	_, err := handled(t.Context(), t, c, "{}")
	require.ErrorIs(t, err, abstract.ErrTimeout)
}

func TestStopKillsWhatRuns(t *testing.T) {
	path, opened := fifo(t)
	c := testCommands(t, "exec sleep 1000 >"+path, patience)
	outcome := make(chan error, 1)
	go func() {
		_, err := handled(t.Context(), t, c, "{}")
		outcome <- err
	}()
	alive := waitOpen(t, opened)
	c.stop()
	require.ErrorIs(t, <-outcome, abstract.ErrDraining)
	waitEnd(t, alive)
}

func TestProcessLeftBehindDoesNotHoldTheAnswer(t *testing.T) {
	path, opened := fifo(t)
	c := testCommands(t, "sleep 1000 3>"+path+" & echo done", patience)
	got, err := handled(t.Context(), t, c, "{}")
	require.NoError(t, err)
	assert.Equal(t, `"done"`, got)
	waitEnd(t, waitOpen(t, opened)) // it held the standard output, so it was killed
}
