package etcdstore

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// childDir names the directory that a child of the crash test writes to.
const childDir = "TREFOIL_ETCDSTORE_CHILD"

const childWriters = 8

// child writes pairs of keys until it is killed, and says which were acknowledged.
func child(dir string) int {
	s, err := Open(context.Background(), Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	var out sync.Mutex
	var wg sync.WaitGroup
	for w := range childWriters {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				res, err := s.Txn(context.Background(), abstract.Txn{
					If:   []abstract.Compare{{Key: "/a/" + key}},
					Then: []abstract.Op{{Key: "/a/" + key, Value: []byte(key)}, {Key: "/b/" + key, Value: []byte(key)}},
				})
				out.Lock()
				fmt.Println("ack", key, res.Revision, err) // not buffered
				out.Unlock()
			}
		})
	}
	wg.Wait()
	return 0
}

// TestKillLosesNothingAcknowledged kills a writing process again and again, and
// reads what it left. TREFOIL_LONG=1 does it 200 times.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	cycles := 3
	if os.Getenv("TREFOIL_LONG") != "" {
		cycles = 200
	}
	dir := t.TempDir()
	acked := map[string]int64{}
	var epoch string
	for range cycles {
		runAndKill(t, dir, acked, 1+rand.N(400))
		s := open(t, Config{Dir: dir})
		checkAcked(t, s, acked)
		if epoch == "" {
			epoch = s.Epoch()
		}
		assert.Equal(t, epoch, s.Epoch())
		require.NoError(t, s.Close())
	}
	t.Logf("%d kills, %d acknowledged transactions, none missing", cycles, len(acked))
}

// runAndKill kills the child with SIGKILL after so many acknowledgements, and
// notes all that it could still say.
func runAndKill(t *testing.T, dir string, acked map[string]int64, after int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	for n := 0; lines.Scan(); {
		var key, fault string
		var rev int64
		if _, err := fmt.Sscan(lines.Text(), new(string), &key, &rev, &fault); err != nil || fault != "<nil>" {
			_ = cmd.Process.Kill()
			require.FailNow(t, "the child failed", lines.Text())
		}
		acked[key] = rev
		if n++; n == after {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.ErrorContains(t, cmd.Wait(), "killed")
}

func checkAcked(t *testing.T, s *Store, acked map[string]int64) {
	kvs, _, err := s.Range(within(t), "/", 0)
	require.NoError(t, err)
	there := make(map[string]abstract.KV, len(kvs))
	for _, kv := range kvs {
		there[kv.Key] = kv
		twin := strings.Replace(strings.Replace(kv.Key, "/a/", "/c/", 1), "/b/", "/a/", 1)
		twin = strings.Replace(twin, "/c/", "/b/", 1)
		if twin < kv.Key {
			require.Equal(t, there[twin].ModRevision, kv.ModRevision, "half a transaction: %s", kv.Key)
		}
	}
	for key, rev := range acked {
		for _, side := range []string{"/a/", "/b/"} {
			kv, ok := there[side+key]
			require.True(t, ok, "acknowledged and gone: %s", side+key)
			require.Equal(t, key, string(kv.Value))
			require.Equal(t, rev, kv.ModRevision)
		}
	}
	require.Zero(t, len(there)%2)
}
