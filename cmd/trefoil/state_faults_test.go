//go:build unix

package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// TestMassDeathReachesEveryWatcher kills a process whose sessions own many nodes.
// Its figures are budgets of the memory store: 1 s for the last of 100 watchers, and
// 20 ms for the p99 of somebody else's writes. They are shown, not judged.
func TestMassDeathReachesEveryWatcher(t *testing.T) {
	for name, args := range map[string][]string{"memory": nil, "data": {"--data", t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			conns, each, watchers := 20, 50, 20
			if long(0, 1) == 1 {
				conns, each, watchers = 100, 100, 100
			}
			broker := startCommand(t, exec.Command(fastBinary(t), append([]string{"broker", "--listen", "127.0.0.1:0", "--log-level", "error", "--session-interval", "1s", "--session-misses", "5"}, args...)...))
			addr := strings.TrimPrefix(broker.line(broker.out), "listening on ")
			_, nodes := dialBroker(t, addr)
			for _, path := range []string{"/owned", "/other"} {
				_, err := nodes.Create(t.Context(), path, nil)
				require.NoError(t, err)
			}
			owners := startHelper(t, "owners", addr, strconv.Itoa(conns), strconv.Itoa(each))
			require.Equal(t, "owned", owners.line(owners.out))
			watching := startHelper(t, "watchers", addr, strconv.Itoa(watchers), strconv.Itoa(conns*each))
			require.Equal(t, "watching", watching.line(watching.out))
			watch, err := nodes.Watch(t.Context(), "/owned", client.ScopeChildren)
			require.NoError(t, err)
			owners.signal(syscall.SIGKILL)
			_, err = watch.Next(t.Context())
			require.NoError(t, err)
			var took []time.Duration
			for len(watching.out.lines) == 0 {
				begun := time.Now()
				_, err := nodes.Set(t.Context(), "/other", []byte("x"))
				require.NoError(t, err)
				took = append(took, time.Since(begun))
			}
			var first, last int64
			_, err = fmt.Sscan(watching.line(watching.out), &first, &last)
			require.NoError(t, err)
			slices.Sort(took)
			t.Logf("%d session nodes of %d sessions, %d watchers: %v from the first to the last; %d writes of another client meanwhile: p50 %v, p99 %v, max %v",
				conns*each, conns, watchers, time.Duration(last-first), len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
			list, err := nodes.List(t.Context(), "/owned")
			require.NoError(t, err)
			assert.Empty(t, list)
		})
	}
}

// TestProvidersAreBackAfterARestart restarts a broker without a memory under many
// providers. Nobody who kept the list is told that one has gone.
func TestProvidersAreBackAfterARestart(t *testing.T) {
	conns, each := 50, 20
	if long(0, 1) == 1 {
		each = 100
	}
	first, addr := startBroker(t, "--listen", "127.0.0.1:0", "--log-level", "error")
	providers := startHelper(t, "providers", addr, strconv.Itoa(conns), strconv.Itoa(each))
	require.Equal(t, "registered", providers.line(providers.out))
	conn, _ := dialBroker(t, addr)
	discovery := client.NewDiscoveryClient(conn)
	var offline atomic.Int64
	for j := range each {
		t.Cleanup(discovery.Follow("m"+strconv.Itoa(j), func(p abstract.Providers) { offline.Add(int64(len(p.Offline))) }))
	}
	for range long(1, 5) {
		first.signal(syscall.SIGKILL)
		first.wait()
		first, _ = startBroker(t, "--listen", addr, "--log-level", "error")
		begun := time.Now()
		_, nodes := dialBroker(t, addr)
		require.Eventually(t, func() bool { return countProviders(t, nodes) == conns*each }, patience, 10*time.Millisecond)
		t.Logf("%d providers are back %v after the broker", conns*each, time.Since(begun))
	}
	require.Eventually(t, conn.Connected, patience, time.Millisecond)
	for j := range each {
		list, err := discovery.Discover(t.Context(), "m"+strconv.Itoa(j))
		require.NoError(t, err)
		assert.Len(t, list, conns)
	}
	assert.Zero(t, offline.Load(), "no provider was announced OFFLINE")
}

// countProviders counts the entries of the registry as the tree shows them.
func countProviders(t *testing.T, nodes *client.NodeClient) (n int) {
	list, err := nodes.List(t.Context(), "/services", client.Recursive())
	if abstract.CodeOf(err) == abstract.NotFound {
		return 0
	}
	require.NoError(t, err)
	for _, node := range list {
		if node.Stat.Children == 0 {
			n++
		}
	}
	return n
}

// TestStoppedLockHolderCannotWriteAnyMore stops the holder of a lock for longer than
// its session lasts.
func TestStoppedLockHolderCannotWriteAnyMore(t *testing.T) {
	_, addr := startBroker(t, "--listen", "127.0.0.1:0", "--session-interval", "500ms", "--session-misses", "5")
	_, nodes := dialBroker(t, addr)
	_, err := nodes.Create(t.Context(), "/guarded", nil)
	require.NoError(t, err)
	token := func(p *proc) (n int64) {
		_, err := fmt.Sscanf(p.line(p.out), "token %d", &n)
		require.NoError(t, err)
		return n
	}
	write := func(p *proc, what string) string {
		_, err := io.WriteString(p.stdin, what+"\n")
		require.NoError(t, err)
		return p.lineWith(p.out, "wrote: ")
	}
	one := startHelper(t, "holder", addr)
	old := token(one)
	require.Equal(t, "wrote: ok", write(one, "first"))
	two := startHelper(t, "holder", addr)
	one.signal(syscall.SIGSTOP)
	assert.Greater(t, token(two), old, "the token grows")
	require.Equal(t, "wrote: ok", write(two, "second"))
	one.signal(syscall.SIGCONT)
	_, err = io.WriteString(one.stdin, "late\n")
	require.NoError(t, err)
	lines := []string{one.line(one.out), one.line(one.out)}
	assert.Contains(t, lines, "lost")
	assert.NotContains(t, lines, "wrote: ok") // refused, or lost with the old connection
	require.Equal(t, "wrote: not found", write(one, "later"))
	n, err := nodes.Get(t.Context(), "/guarded")
	require.NoError(t, err)
	assert.Equal(t, "second", string(n.Data))
}

// TestForgedHeartbeatsRenewNothing floods the heartbeat port with forged datagrams
// for a session whose process is stopped.
func TestForgedHeartbeatsRenewNothing(t *testing.T) {
	broker, addr := startBroker(t, "--listen", "127.0.0.1:0", "--session-interval", "600ms", "--session-misses", "5", "--log-level", "error")
	_, nodes := dialBroker(t, addr)
	holder := start(t, "node", "create", "/mine", "--session", "--broker", addr)
	require.Equal(t, "/mine", holder.line(holder.out))
	n, err := nodes.Stat(t.Context(), "/mine")
	require.NoError(t, err)
	id, err := hex.DecodeString(n.Stat.Session)
	require.NoError(t, err)
	holder.signal(syscall.SIGSTOP)
	conn, err := net.Dial("udp", addr)
	require.NoError(t, err)
	defer conn.Close()
	before, sent := cpuOf(t, broker), 0
	begun := time.Now()
	most := long(20_000, 1_000_000)
	datagram := append([]byte("TFHB\x01"), id...)
	datagram = append(datagram, make([]byte, 24)...)
	there := true
	for there || sent < most {
		for range 500 {
			binary.BigEndian.PutUint64(datagram[21:], uint64(1<<40+sent)) // a sequence that grows, and a MAC that is wrong
			_, _ = rand.Read(datagram[29:])
			_, _ = conn.Write(datagram)
			sent++
		}
		if there, err = nodes.Exists(t.Context(), "/mine"); err != nil {
			require.NoError(t, err)
		}
		require.Less(t, time.Since(begun), patience, "the session lives, although nothing true was heard of it")
	}
	used := cpuOf(t, broker) - before
	t.Logf("%d datagrams in %v: %v of the broker's processor time, %v each", sent, time.Since(begun), used, used/time.Duration(sent))
	holder.signal(syscall.SIGCONT)
	holder.lineWith(holder.err, "the session has ended")
}

// cpuOf is how much processor time a process has taken, or 0 where that is not known.
func cpuOf(t *testing.T, p *proc) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	require.NoError(t, err1)
	require.NoError(t, err2)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// TestEveryAcknowledgedWriteIsSynced counts the fsyncs of a broker under strace.
func TestEveryAcknowledgedWriteIsSynced(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Log("NOT RUN: there is no strace here")
		return
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", trace, fastBinary(t), "broker", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--log-level", "error", "--stop-on-eof")
	broker := startCommand(t, cmd)
	addr := strings.TrimPrefix(broker.line(broker.out), "listening on ")
	conn, nodes := dialBroker(t, addr)
	_, err = nodes.Create(t.Context(), "/n", nil)
	require.NoError(t, err)
	count := func() int {
		text, err := os.ReadFile(trace)
		require.NoError(t, err)
		return len(regexp.MustCompile(`(?m)(fsync|fdatasync)\(\d+\) += 0|(fsync|fdatasync) resumed>\) += 0`).FindAll(text, -1))
	}
	before := count()
	groups := long(100, 2000)
	for range groups { // one after the other: each is a group of its own
		_, err := nodes.Set(t.Context(), "/n", []byte("x"))
		require.NoError(t, err)
	}
	syncs := count() - before
	t.Logf("%d acknowledged writes, one after the other, and %d fsyncs meanwhile", groups, syncs)
	assert.GreaterOrEqual(t, syncs, groups)
	require.NoError(t, conn.Close())
	require.NoError(t, broker.stdin.Close())
	broker.wait()
}

// TestSlowWatcherCostsWritersNothing has a watcher that reads nothing at all.
func TestSlowWatcherCostsWritersNothing(t *testing.T) {
	broker := startCommand(t, exec.Command(fastBinary(t), "broker", "--listen", "127.0.0.1:0", "--log-level", "error"))
	addr := strings.TrimPrefix(broker.line(broker.out), "listening on ")
	_, nodes := dialBroker(t, addr)
	_, err := nodes.Create(t.Context(), "/n", nil)
	require.NoError(t, err)
	writes := long(3000, 100_000)
	data := []byte(strings.Repeat("x", 1000))
	rate := func() time.Duration {
		begun := time.Now()
		for range writes {
			_, err := nodes.Set(t.Context(), "/n", data)
			require.NoError(t, err)
		}
		return time.Since(begun) / time.Duration(writes)
	}
	alone := rate()
	before := memory(broker)
	watcher := start(t, "node", "watch", "/n", "--broker", addr)
	watcher.lineWith(watcher.err, "watching /n")
	watcher.signal(syscall.SIGSTOP)
	slow := rate()
	t.Logf("a write takes %v, and %v beside a watcher that reads nothing (%.2fx); the broker's memory: %d KiB, then %d KiB",
		alone, slow, float64(slow)/float64(alone), before, memory(broker))
	watcher.signal(syscall.SIGCONT)
	if long(0, 1) == 1 { // what the kernel and the queue hold is far less than was written
		watcher.lineWith(watcher.out, "resync: changes of /n")
	}
	n, err := nodes.Set(t.Context(), "/n", []byte("the last"))
	require.NoError(t, err)
	watcher.lineWith(watcher.out, "the last")
	require.EqualValues(t, 2*writes+2, n.Stat.Version)
	watcher.signal(syscall.SIGINT)
	watcher.wait()
}

// TestDatagramsOfNobodyAreIgnored sends what is no heartbeat.
func TestDatagramsOfNobodyAreIgnored(t *testing.T) {
	_, addr := startBroker(t)
	conn, err := net.Dial("udp", addr)
	require.NoError(t, err)
	defer conn.Close()
	for _, size := range []int{0, 1, 4, 44, 45, 46, 512, 513, 9000} {
		b := make([]byte, size)
		_, _ = rand.Read(b)
		_, _ = conn.Write(b)
	}
	_, nodes := dialBroker(t, addr)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = nodes.Sync(ctx)
	assert.NoError(t, err)
}
