//go:build unix

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStreamsOfCommands(t *testing.T) {
	_, broker := startBroker(t)
	killed := filepath.Join(t.TempDir(), "killed")
	for method, command := range map[string]string{
		"count": `read -r params; for i in 1 2 3; do echo "{\"i\":$i}"; done; printf %s "$params"`,
		"echo":  `read -r params; cat`,
		"fail":  `echo 1; echo "why not" >&2; exit 3`,
		"yes":   `yes`,
		"wait":  `trap 'echo >` + killed + `; exit' TERM; read -r params; echo ready; cat >/dev/null; echo >` + killed,
		"deaf":  `exec 0<&-; echo "heard nothing"`,
	} {
		startProvider(t, broker, method, command, "--stream")
	}
	for _, way := range []string{"", "--relay"} {
		tests := []struct {
			name, in, args, out, err string
		}{
			{"messages of a command", "", "count {\"a\":\"b\"}", "{\"i\":1}\n{\"i\":2}\n{\"i\":3}\n{\"a\":\"b\"}\n", ""},
			{"both ways", "1\n{\"a\" : 2}\ntext\n\n", "echo", "1\n{\"a\" : 2}\n\"text\"\n\"\"\n", ""},
			{"one that fails", "", "fail", "1\n", "why not"},
			{"so many and no more", "", "yes --count 3", "\"y\"\n\"y\"\n\"y\"\n", ""},
			{"who does not listen", strings.Repeat("x\n", 100), "deaf", "\"heard nothing\"\n", ""},
			{"nobody serves it", "", "nothing", "", "nobody provides"},
		}
		for _, tt := range tests {
			t.Run(tt.name+" "+way, func(t *testing.T) {
				args := append([]string{"call", "--stream", "--broker", broker}, strings.Fields(tt.args+" "+way)...)
				f := doWith(t, tt.in, args...)
				assert.Equal(t, tt.out, f.out)
				if tt.err == "" {
					assert.Equal(t, exitOK, f.code, f.err)
				} else {
					assert.Equal(t, exitFailed, f.code)
					assert.Contains(t, f.err, tt.err)
				}
			})
		}
	}
	t.Run("called in place of opened", func(t *testing.T) {
		f := do(t, "call", "count", "--broker", broker)
		assert.Equal(t, exitFailed, f.code)
		assert.Contains(t, f.err, "--stream")
	})
	t.Run("a caller that goes ends the command", func(t *testing.T) {
		p := start(t, "call", "wait", "--stream", "--broker", broker)
		require.Equal(t, `"ready"`, p.line(p.out))
		p.signal(os.Interrupt)
		require.NotEqual(t, exitOK, p.wait())
		_, err := os.Stat(killed)
		assert.ErrorIs(t, err, os.ErrNotExist, "it is killed before its input has ended for it")
	})
}

// TestStreamsEndWithAProcess at either side: one that is killed at once, one that is
// stopped when it has not answered pings for a while.
func TestStreamsEndWithAProcess(t *testing.T) {
	_, broker := startBroker(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run("provider "+sig.String(), func(t *testing.T) {
			t.Parallel()
			method := "p" + strconv.Itoa(int(sig))
			provider, _ := startProvider(t, broker, method, "echo ready; cat", "--stream")
			direct, relayed := start(t, "call", method, "--stream", "--broker", broker), start(t, "call", method, "--stream", "--relay", "--broker", broker)
			for _, p := range []*proc{direct, relayed} {
				require.Equal(t, `"ready"`, p.line(p.out))
				require.Equal(t, `{}`, p.line(p.out), "the parameters come back")
			}
			provider.signal(sig)
			for _, p := range []*proc{direct, relayed} {
				assert.Equal(t, exitFailed, p.wait())
				assert.Contains(t, p.err.text(), "disconnected")
				assert.Equal(t, exitFailed, p.wait())
			}
		})
		t.Run("caller "+sig.String(), func(t *testing.T) {
			t.Parallel()
			method := "c" + strconv.Itoa(int(sig))
			startProvider(t, broker, method, "echo $$; cat", "--stream")
			for _, way := range []string{"--relay=false", "--relay"} {
				p := start(t, "call", method, "--stream", "--broker", broker, way)
				pid, err := strconv.Atoi(p.line(p.out))
				require.NoError(t, err)
				p.signal(sig)
				require.Eventually(t, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }, patience, 10*time.Millisecond, "the command still runs")
			}
		})
	}
}
