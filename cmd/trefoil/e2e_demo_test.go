//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hardTree is a directory with everything that is hard about files.
func hardTree(t *testing.T) string {
	t.Helper()
	files := map[string]string{
		"empty":               "",
		"binary":              "text\x00text",
		"latin1":              "caf\xe9 au lait\n",
		"no newline":          "two words",
		"white space":         " \t\r\n\u2003\u0085 \n",
		"utf8":                strings.Repeat("世界 é 😀\u2028<&>\"\\\x01 ", 1000),
		"deep/er/still":       "a\nb\nc\n",
		"above the limit":     strings.Repeat("a line of some words\n", 500_000), // 10.5 MB
		"above without space": strings.Repeat("世", 3_000_000) + " end\n",         // 9 MB
	}
	for i := range 300 {
		files[fmt.Sprintf("many/%03d.txt", i)] = strings.Repeat(fmt.Sprintf("file %d\n", i), i)
	}
	return makeTree(t, files)
}

func TestDemoCountsWhatIsThereAndSurvivesALostProvider(t *testing.T) {
	for name, tree := range map[string]func(*testing.T) string{
		"hard files":     hardTree,
		"one file":       func(t *testing.T) string { return makeTree(t, map[string]string{"a": "one two\n"}) },
		"one empty file": func(t *testing.T) string { return makeTree(t, map[string]string{"a": ""}) },
		"three files": func(t *testing.T) string {
			return makeTree(t, map[string]string{"a": "one\n", "b": "two three\n", "c": "four"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := do(t, "demo", tree(t), "--json")
			require.Equal(t, exitOK, f.code, f.err)
			assert.Empty(t, f.err, "no progress where nobody looks")
			var r demoReport
			require.NoError(t, json.Unmarshal([]byte(f.out), &r))
			assert.True(t, r.OK)
			assert.Equal(t, r.Direct, r.ByCalls)
			assert.GreaterOrEqual(t, r.Kill.InFlight, 1)
			assert.True(t, r.Kill.Offline)
			assert.GreaterOrEqual(t, r.Kill.Moved, 1)
			assert.GreaterOrEqual(t, r.Progress.Received, int64(1))
			assertGone(t, r)
			if name == "hard files" {
				assert.Equal(t, int64(307), r.Direct.Files)
				assert.Equal(t, 2, r.NotText)
				assert.Greater(t, r.Calls.Total, 307+15, "the large files were split")
				assert.Positive(t, r.Calls.Sync)
				assert.Positive(t, r.Calls.Future)
				assert.Positive(t, r.Calls.Callback)
			}
		})
	}
}

// assertGone checks that the demo left no provider behind.
func assertGone(t *testing.T, r demoReport) {
	t.Helper()
	for _, p := range r.Providers {
		assert.ErrorIs(t, syscall.Kill(p.PID, 0), syscall.ESRCH, "%s is still there", p.Name)
	}
}

func TestDemoForPeopleShowsTheTotalsSideBySide(t *testing.T) {
	f := do(t, "demo", makeTree(t, map[string]string{"a": "one two\n", "b": "three\n"}))
	require.Equal(t, exitOK, f.code, f.err)
	assert.Empty(t, f.err)
	for _, want := range []string{"by calls", "directly", "equal: yes", "calls in flight on it:", "OFFLINE arrived:       yes", "calls that moved on:"} {
		assert.Contains(t, f.out, want)
	}
}

func TestInterruptedDemoLeavesNoProcessBehind(t *testing.T) {
	demo := start(t, "demo", hardTree(t))
	var pids []int
	for range 4 {
		var pid int
		_, after, _ := strings.Cut(demo.lineWith(demo.out, ": pid "), ": pid ")
		_, err := fmt.Sscan(after, &pid)
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	demo.signal(os.Interrupt)
	assert.Equal(t, exitFailed, demo.wait())
	assert.Equal(t, "trefoil demo: interrupted\n", demo.err.text())
	for _, pid := range pids {
		assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	}
}

func TestKilledDemoTakesItsProcessesAlong(t *testing.T) {
	demo := start(t, "demo", hardTree(t))
	line := demo.lineWith(demo.out, "broker: pid ")
	broker := line[strings.LastIndex(line, " ")+1:]
	demo.lineWith(demo.out, "provider 3: pid ")
	demo.signal(syscall.SIGKILL)
	demo.wait()
	require.Eventually(t, func() bool { // nobody tells us when a stranger's process is gone
		return inProcess(t, "", "discover", "x", "--json", "--broker", broker).code == exitFailed &&
			strings.Contains(inProcess(t, "", "discover", "x", "--broker", broker).err, "no broker")
	}, patience, drawEvery)
}

func TestDemoWithoutGoAsksForADirectory(t *testing.T) {
	cmd := exec.Command(realBinary(t), "demo")
	cmd.Env = []string{"PATH=" + t.TempDir()}
	p := startCommand(t, cmd)
	assert.Equal(t, exitFailed, p.wait())
	assert.Contains(t, p.err.text(), "name a directory")
}
