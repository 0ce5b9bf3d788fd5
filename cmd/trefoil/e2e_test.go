//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCallReachesAProviderInEveryMode(t *testing.T) {
	_, broker := startBroker(t)
	_, provider := startProvider(t, broker, "echo", "cat")
	params := `{"text":"<é> & \"q\"","n":9007199254740993}`
	for _, mode := range []string{"sync", "future", "callback"} {
		for _, where := range [][]string{{"--broker", broker}, {"--direct", provider}} {
			t.Run(mode+where[0], func(t *testing.T) {
				f := inProcess(t, "", append([]string{"call", "echo", params, "--mode", mode}, where...)...)
				require.Equal(t, exitOK, f.code, f.err)
				assert.Equal(t, params+"\n", f.out)
				assert.Empty(t, f.err)
			})
		}
	}
	t.Run("JSON", func(t *testing.T) {
		f := do(t, "call", "echo", params, "--json", "--mode", "future", "--broker", broker)
		require.Equal(t, exitOK, f.code, f.err)
		var out callOutput
		require.NoError(t, json.Unmarshal([]byte(f.out), &out))
		assert.Equal(t, params, string(out.Result))
		assert.Equal(t, provider, out.Instance)
		assert.Equal(t, 1, out.Attempts)
	})
	t.Run("address from the environment", func(t *testing.T) {
		t.Setenv("TREFOIL_BROKER", broker)
		f := do(t, "call", "echo")
		assert.Equal(t, finished{exitOK, "{}\n", ""}, f)
	})
	t.Run("nobody provides it", func(t *testing.T) {
		f := do(t, "call", "nobody", "--broker", broker)
		assert.Equal(t, exitFailed, f.code)
		assert.Contains(t, f.err, "nobody provides nobody now")
	})
	t.Run("not served there", func(t *testing.T) {
		f := do(t, "call", "nobody", "--direct", provider, "--json")
		assert.Equal(t, exitFailed, f.code)
		var out callOutput
		require.NoError(t, json.Unmarshal([]byte(f.out), &out))
		assert.EqualValues(t, 6, out.Error.RCode)
		assert.Equal(t, "yes", out.Error.Sent)
	})
}

func TestFailedCommandIsAFailedCallWithCodeNine(t *testing.T) {
	_, broker := startBroker(t)
	startProvider(t, broker, "fail", "echo first >&2; echo boom >&2; exit 3")
	f := do(t, "call", "fail", "--broker", broker, "--json")
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "boom")
	assert.Equal(t, 1, strings.Count(f.err, "\n"))
	var out callOutput
	require.NoError(t, json.Unmarshal([]byte(f.out), &out))
	assert.EqualValues(t, 9, out.Error.RCode)
}

func TestCommandDiesWithItsCallersDeadline(t *testing.T) {
	t.Parallel()
	_, broker := startBroker(t)
	path, opened := fifo(t)
	startProvider(t, broker, "slow", "sleep 1000 >"+path)
	f := do(t, "call", "slow", "--broker", broker, "--timeout", "15s") // time to begin, on any machine
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "timeout")
	waitEnd(t, waitOpen(t, opened))
}

func TestCommandDiesWithItsProvider(t *testing.T) {
	_, broker := startBroker(t)
	path, opened := fifo(t)
	provider, _ := startProvider(t, broker, "slow", "exec sleep 1000 >"+path)
	caller := start(t, "call", "slow", "--broker", broker, "--timeout", "50s")
	alive := waitOpen(t, opened)
	provider.signal(syscall.SIGKILL)
	assert.Equal(t, exitFailed, caller.wait(), "the connection is lost and the call is not idempotent")
	if runtime.GOOS == "linux" { // elsewhere it goes on until its own end
		waitEnd(t, alive)
	}
}

func TestWatchSeesAProviderComeAndGo(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "terminated": syscall.SIGTERM} {
		reason := map[syscall.Signal]string{syscall.SIGKILL: "lost", syscall.SIGTERM: "unregistered"}[sig]
		t.Run(name, func(t *testing.T) {
			_, broker := startBroker(t)
			watch := start(t, "discover", "m", "--watch", "--broker", broker)
			require.Equal(t, "watching m", watch.line(watch.out))
			values := start(t, "discover", "m", "--watch", "--json", "--broker", broker)
			values.lineWith(values.out, `"watching"`)
			provider, addr := startProvider(t, broker, "m", "cat")
			require.Equal(t, "ONLINE "+addr, watch.line(watch.out))
			provider.signal(sig)
			if sig == syscall.SIGTERM {
				require.Equal(t, "CHANGED "+addr+" draining", watch.line(watch.out))
			}
			require.Equal(t, "OFFLINE "+addr+" "+reason, watch.line(watch.out))
			assert.Contains(t, values.lineWith(values.out, `"offline"`), `"reason":"`+reason+`"`)
			watch.signal(os.Interrupt)
			assert.Equal(t, exitOK, watch.wait())
		})
	}
}

func TestDiscoverPrintsWhoIsThere(t *testing.T) {
	_, broker := startBroker(t)
	f := do(t, "discover", "m", "--broker", broker, "--json")
	assert.Equal(t, exitFailed, f.code)
	assert.JSONEq(t, `{"method":"m","providers":[]}`, f.out)
	_, first := startProvider(t, broker, "m", "cat")
	_, second := startProvider(t, broker, "m", "cat")
	f = do(t, "discover", "m", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.ElementsMatch(t, []string{first, second}, strings.Fields(f.out))
	watch := start(t, "discover", "m", "--watch", "--json", "--broker", broker)
	var event watchEvent
	require.NoError(t, json.Unmarshal([]byte(watch.line(watch.out)), &event))
	assert.Equal(t, "watching", event.Event)
	require.NoError(t, json.Unmarshal([]byte(watch.line(watch.out)), &event))
	assert.Equal(t, "online", event.Event)
	assert.Contains(t, []string{first, second}, fmt.Sprintf("%s:%d", event.Provider.Host, event.Provider.Port))
}

func TestTerminatedProviderFinishesWhatIsInFlight(t *testing.T) {
	_, broker := startBroker(t)
	path, opened := fifo(t)
	release := filepath.Join(t.TempDir(), "release")
	require.NoError(t, syscall.Mkfifo(release, 0o600))
	provider, addr := startProvider(t, broker, "slow", "exec 3>"+path+"; cat "+release)
	watch := start(t, "discover", "slow", "--watch", "--broker", broker)
	watch.lineWith(watch.out, "ONLINE "+addr)
	caller := start(t, "call", "slow", "--broker", broker, "--timeout", "50s")
	waitOpen(t, opened) // the command runs

	provider.signal(syscall.SIGTERM)
	watch.lineWith(watch.out, "OFFLINE "+addr) // deregistered first
	f := do(t, "call", "slow", "--direct", addr, "--timeout", "300ms")
	assert.Equal(t, exitFailed, f.code, "no new work")
	require.NoError(t, os.WriteFile(release, []byte("done"), 0o600))
	assert.Equal(t, exitOK, caller.wait())
	assert.Equal(t, "\"done\"\n", caller.out.text())
	assert.Equal(t, exitOK, provider.wait())
}

func TestDrainHasALimit(t *testing.T) {
	_, broker := startBroker(t)
	path, opened := fifo(t)
	provider, _ := startProvider(t, broker, "slow", "sleep 1000 >"+path, "--drain-timeout", "200ms")
	caller := start(t, "call", "slow", "--broker", broker, "--timeout", "50s")
	alive := waitOpen(t, opened)
	provider.signal(syscall.SIGTERM)
	assert.Contains(t, []int{exitOK, exitFailed}, provider.wait())
	assert.Equal(t, exitFailed, caller.wait())
	waitEnd(t, alive) // what still ran was killed
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	_, broker := startBroker(t)
	path, opened := fifo(t)
	provider, _ := startProvider(t, broker, "slow", "exec sleep 1000 >"+path, "--drain-timeout", "1000s")
	start(t, "call", "slow", "--broker", broker, "--timeout", "50s")
	waitOpen(t, opened)
	watch := start(t, "discover", "slow", "--watch", "--broker", broker)
	watch.lineWith(watch.out, "ONLINE")
	provider.signal(syscall.SIGTERM)
	watch.lineWith(watch.out, "OFFLINE") // it drains
	provider.signal(syscall.SIGTERM)
	assert.Equal(t, exitFailed, provider.wait())
}

func TestTerminatedBrokerExitsWithZero(t *testing.T) {
	for name, sig := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": os.Interrupt} {
		t.Run(name, func(t *testing.T) {
			broker, addr := startBroker(t)
			watch := start(t, "discover", "m", "--watch", "--broker", addr)
			watch.line(watch.out)
			broker.signal(sig)
			assert.Equal(t, exitOK, broker.wait())
			assert.Contains(t, watch.lineWith(watch.err, "lost the broker"), "draining")
		})
	}
}

func TestServerEndsWithItsInputWhenAsked(t *testing.T) {
	broker, addr := startBroker(t, "--listen", "127.0.0.1:0", "--stop-on-eof")
	provider, _ := startProvider(t, addr, "m", "cat", "--stop-on-eof")
	require.NoError(t, provider.stdin.Close())
	assert.Equal(t, exitOK, provider.wait())
	require.NoError(t, broker.stdin.Close())
	assert.Equal(t, exitOK, broker.wait())
}

func TestMessagesReachASubscriberInOrder(t *testing.T) {
	_, broker := startBroker(t)
	t.Setenv("TREFOIL_BROKER", broker)
	require.Equal(t, finished{exitOK, "created news\n", ""}, do(t, "topic", "create", "news"))
	plain := start(t, "sub", "news", "--count", "6")
	asJSON := start(t, "sub", "news", "--count", "6", "--json")
	plain.lineWith(plain.err, "subscribed to news")
	asJSON.lineWith(asJSON.err, "subscribed to news")

	assert.Equal(t, finished{exitOK, "published 1 message to news\n", ""}, do(t, "pub", "news", `a "b"`))
	assert.Equal(t, finished{exitOK, "published 3 messages to news\n", ""}, doWith(t, "one\n\nthree", "pub", "news", "-"))
	f := doWith(t, "{\"n\": 1}\n2\n", "pub", "news", "--type", "json", "--json")
	assert.Equal(t, exitOK, f.code, f.err)
	assert.JSONEq(t, `{"topic":"news","published":2,"bytes":9}`, f.out)

	assert.Equal(t, exitOK, plain.wait())
	assert.Equal(t, "a \"b\"\none\n\nthree\n{\"n\": 1}\n2\n", plain.out.text())
	assert.Equal(t, exitOK, asJSON.wait())
	var data []string
	for line := range strings.Lines(asJSON.out.text()) {
		var m messageOutput
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		assert.Equal(t, "news", m.Topic)
		data = append(data, string(m.Data))
	}
	assert.Equal(t, []string{`"a \"b\""`, `"one"`, `""`, `"three"`, `{"n":1}`, `2`}, data)
}

func TestTopicsThatAreNotThereFail(t *testing.T) {
	_, broker := startBroker(t)
	t.Setenv("TREFOIL_BROKER", broker)
	for name, args := range map[string][]string{
		"pub": {"pub", "t", "x"}, "pub -": {"pub", "t", "-"}, "sub": {"sub", "t"},
	} {
		f := inProcess(t, "line\n", args...)
		assert.Equal(t, exitFailed, f.code, name)
		assert.Contains(t, f.err, "trefoil topic create t", name)
	}
	f := inProcess(t, "", "topic", "remove", "t", "--json")
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, `no topic "t" to remove`)
	assert.Contains(t, f.out, `"rcode":8`, "programs are told too")
	for _, args := range [][]string{{"topic", "create", "t", "--json"}, {"topic", "remove", "t", "--json"}} {
		f := inProcess(t, "", args...)
		require.Equal(t, exitOK, f.code, f.err)
		var out topicOutput
		require.NoError(t, json.Unmarshal([]byte(f.out), &out))
		assert.Equal(t, args[1]+"d", out.Event)
	}
}

func TestBadLineEndsPublishingAndSaysWhich(t *testing.T) {
	_, broker := startBroker(t)
	t.Setenv("TREFOIL_BROKER", broker)
	require.Equal(t, exitOK, inProcess(t, "", "topic", "create", "t").code)
	f := inProcess(t, "1\n{\n3\n", "pub", "t", "-", "--type", "json")
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "1 messages were published, then: line 2")
}

func TestEverythingComesBackAfterABrokerRestart(t *testing.T) {
	first, broker := startBroker(t)
	t.Setenv("TREFOIL_BROKER", broker)
	provider, addr := startProvider(t, broker, "echo", "cat")
	watch := start(t, "discover", "echo", "--watch")
	watch.lineWith(watch.out, "ONLINE "+addr)
	require.Equal(t, exitOK, inProcess(t, "", "topic", "create", "news").code)
	sub := start(t, "sub", "news", "--log-level", "info")
	sub.lineWith(sub.err, "subscribed to news")
	provider.lineWith(provider.err, "connected to the broker")

	first.signal(syscall.SIGKILL)
	first.wait()
	for _, p := range []*proc{provider, watch, sub} {
		p.lineWith(p.err, "lost the broker")
	}
	startBroker(t, "--listen", broker)
	provider.lineWith(provider.err, "connected to the broker")
	f := do(t, "call", "echo", `{"back":true}`)
	assert.Equal(t, finished{exitOK, "{\"back\":true}\n", ""}, f)
	assert.NotContains(t, watch.out.text(), "OFFLINE", "an unreachable broker is no OFFLINE")

	// The topic was lost with the broker's memory. Once it is there again, the
	// subscriber, who has been trying since, sees what is published.
	require.Equal(t, exitOK, inProcess(t, "", "topic", "create", "news").code)
	require.Eventually(t, func() bool {
		return inProcess(t, "", "pub", "news", "hello").code == exitOK && strings.Contains(sub.out.text(), "hello\n")
	}, patience, 50*time.Millisecond)
}

func TestBrokerServesOnAUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "trefoil") //nolint:usetesting // a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	_, addr := startBroker(t, "--listen", "unix:"+filepath.Join(dir, "s"))
	assert.Equal(t, "unix:"+filepath.Join(dir, "s"), addr)
	startProvider(t, addr, "echo", "cat")
	f := do(t, "call", "echo", `{"a":1}`, "--broker", addr)
	assert.Equal(t, finished{exitOK, "{\"a\":1}\n", ""}, f)
}

func TestBrokerRunsTheRolesItIsGiven(t *testing.T) {
	p := start(t, "broker", "--listen", "127.0.0.1:0", "--serve", "registry, rpc", "--json")
	var ready listening
	require.NoError(t, json.Unmarshal([]byte(p.line(p.out)), &ready))
	assert.Equal(t, "listening", ready.Event)
	assert.Equal(t, []string{"registry", "rpc"}, ready.Serve)
	f := inProcess(t, "", "topic", "create", "t", "--broker", ready.Addr)
	assert.Equal(t, exitFailed, f.code, "it has no topics")
	startProvider(t, ready.Addr, "m", "cat")
}

func TestAddressInUseFailsAndSaysWhatToDo(t *testing.T) {
	_, addr := startBroker(t)
	f := do(t, "broker", "--listen", addr)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "--listen")
	assert.Equal(t, 1, strings.Count(f.err, "\n"))
}

func TestLogsAreJSONWhenAsked(t *testing.T) {
	broker, _ := startBroker(t, "--listen", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug")
	broker.signal(syscall.SIGTERM)
	require.Equal(t, exitOK, broker.wait())
	require.NotEmpty(t, broker.err.text())
	for line := range strings.Lines(broker.err.text()) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}
