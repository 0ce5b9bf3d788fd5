//go:build unix

package jetstream

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// withSmallFiles makes this process unable to write beyond a megabyte of a file.
func withSmallFiles() error {
	signal.Ignore(syscall.SIGXFSZ)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20})
}

// TestTopicThatCannotBeWritten checks that an append that the server leaves without an
// answer ends all the same, that the next are refused in words, and that other topics, and
// what was acknowledged, are as they were.
func TestTopicThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), refusedDir+"="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	said := strings.Split(string(out), "\n")
	require.GreaterOrEqual(t, len(said), 4, "%s", out)
	assert.True(t, strings.HasPrefix(said[0], fmt.Sprint(int(abstract.UnknownFate), " unknown")), said[0])
	assert.True(t, strings.HasPrefix(said[1], fmt.Sprint(int(abstract.Unavailable), " no the disk could not be written to")), said[1])
	assert.Equal(t, "<nil>", said[2])
	var acked uint64
	_, err = fmt.Sscanf(said[3], "acked %d", &acked)
	require.NoError(t, err, said[3])
	require.Positive(t, acked)

	s := open(t, Config{Dir: dir})
	l, err := s.Open(within(t), "t", "1", abstract.LogConfig{})
	require.NoError(t, err)
	_, last, err := l.Bounds(within(t))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, last, acked)
	_, err = l.Append(within(t), entries(1, 10))
	require.NoError(t, err, "it takes messages again")
}
