//go:build unix

package jetstream

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// TestKillLosesNothingAcknowledged kills an appending process again and again, and reads
// what it left. TREFOIL_LONG=1 does it 200 times.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	cycles := 20
	if os.Getenv("TREFOIL_LONG") != "" {
		cycles = 200
	}
	dir := t.TempDir()
	acked := make([]map[string]uint64, appendTopics)
	for i := range acked {
		acked[i] = map[string]uint64{}
	}
	lost := make([]map[uint64]string, appendTopics) // what stood where, that was not acknowledged
	for i := range lost {
		lost[i] = map[uint64]string{}
	}
	for range cycles {
		killAppender(t, dir, acked, 1+rand.N(300))
		s := open(t, Config{Dir: dir})
		for i := range acked {
			checkAcked(t, s, i, acked[i], lost[i])
		}
		require.NoError(t, s.Close())
	}
	n := 0
	for _, a := range acked {
		n += len(a)
	}
	t.Logf("%d kills, %d acknowledged entries, none missing", cycles, n)
}

// killAppender kills the child with SIGKILL after so many acknowledgements, and notes all
// that it could still say.
func killAppender(t *testing.T, dir string, acked []map[string]uint64, after int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), appenderDir+"="+dir)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	for n := 0; lines.Scan(); {
		var topic int
		var offset uint64
		var text, fault string
		if _, err := fmt.Sscan(lines.Text(), &topic, &text, &offset, &fault); err != nil || fault != "<nil>" {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			require.FailNow(t, "the child failed", lines.Text())
		}
		acked[topic][text] = offset
		if n++; n == after {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.ErrorContains(t, cmd.Wait(), "killed")
}

// checkAcked checks that what was acknowledged is where it was said to be, that there are
// no holes, that each appender's entries are in its order, and that nothing that was once
// read has become something else.
func checkAcked(t *testing.T, s *Logs, topic int, acked map[string]uint64, seen map[uint64]string) {
	l, err := s.Open(within(t), fmt.Sprint("t", topic), "1", abstract.LogConfig{})
	require.NoError(t, err)
	there := map[string]uint64{}
	last := map[string]int{} // of each appender
	for next := uint64(1); ; {
		list, err := l.Read(within(t), next, 1000, 1<<20)
		require.NoError(t, err)
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			require.Equal(t, next, e.Offset, "a hole")
			next++
			text := string(e.Data)
			if before, ok := seen[e.Offset]; ok {
				require.Equal(t, before, text, "an offset was used again")
			}
			seen[e.Offset], there[text] = text, e.Offset
			var pid, appender, i int
			_, err := fmt.Sscanf(text, "%d/%d/%d", &pid, &appender, &i)
			require.NoError(t, err)
			who := fmt.Sprint(pid, "/", appender)
			require.Greater(t, i, last[who], "out of order")
			last[who] = i
		}
	}
	require.Len(t, there, len(seen), "an entry that was there is gone, or there twice")
	for text, offset := range acked {
		require.Equal(t, offset, there[text], "acknowledged: %s", text)
	}
}
