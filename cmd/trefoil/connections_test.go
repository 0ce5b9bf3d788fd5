//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTenThousandConnectionsAllHearOfAProvider holds 10,000 connections at once,
// the broker and the clients in processes of their own. Each says HELLO,
// discovers a method, gets the ONLINE notice when a provider registers, and
// answers a ping. With -short it is 500.
func TestTenThousandConnectionsAllHearOfAProvider(t *testing.T) {
	// The race detector gives up at 8,128 goroutines, so the clients share two
	// processes, and the broker, whose memory is of interest, has no detector.
	all, helpers := 10_000, 2
	if testing.Short() {
		all = 500
	}
	needDescriptors(t, uint64(all)+500)
	broker := startCommand(t, exec.Command(fastBinary(t), "broker", "--listen", "127.0.0.1:0", "--accept-rate", "0", "--ping-interval", "4s", "--ping-misses", "15", "--log-level", "error"))
	addr := strings.TrimPrefix(broker.line(broker.out), "listening on ")
	before := memory(broker)

	var clients []*proc
	for range helpers {
		cmd := exec.Command(os.Args[0], addr, fmt.Sprint(all/helpers), "news.read")
		cmd.Env = []string{helperEnv + "=connections"}
		clients = append(clients, startCommand(t, cmd))
	}
	expect := func(what ...string) { // in any order
		t.Helper()
		for _, c := range clients {
			var got []string
			for range what {
				got = append(got, c.line(c.out))
			}
			require.ElementsMatch(t, what, got)
		}
	}
	expect("discovered")
	connected := memory(broker)
	startProvider(t, addr, "news.read", "cat")
	expect("online", "pinged")
	t.Logf("broker's memory: %d KiB at the start, %d KiB with %d connections, %d KiB after the notice and the pings", before, connected, all, memory(broker))
	if before > 0 {
		t.Logf("%.1f KiB for each connection", float64(memory(broker)-before)/float64(all))
	}
}

// needDescriptors raises the limit of open files for the processes that this one
// starts, or skips the test.
func needDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Max < n {
		text := fmt.Sprintf("the test needs %d open files in one process, and the limit is %d; raise it with ulimit -Hn", n, limit.Max)
		if os.Getenv("TREFOIL_REQUIRE_ALL") == "1" {
			require.Fail(t, text)
		}
		t.Skip(text)
	}
	if limit.Cur < n {
		limit.Cur = limit.Max
	}
	// Setting it also has it passed on: a Go program that starts another one
	// gives it the limit that it was started with itself, unless it was set.
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}

// memory is the resident memory of a process in KiB, or 0 where that is not known.
func memory(p *proc) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	var kib int
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			break
		}
	}
	return kib
}
