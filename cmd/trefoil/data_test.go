//go:build unix

package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTopicsAndProvidersSurviveAKilledBroker(t *testing.T) {
	data := t.TempDir()
	first, broker := startBroker(t, "--listen", "127.0.0.1:0", "--data", data)
	t.Setenv("TREFOIL_BROKER", broker)
	provider, addr := startProvider(t, broker, "echo", "cat")
	watch := start(t, "discover", "echo", "--watch", "--log-level", "info")
	watch.lineWith(watch.out, "ONLINE "+addr)
	watch.lineWith(watch.err, "connected to the broker")
	require.Equal(t, exitOK, inProcess(t, "", "topic", "create", "news").code)

	for range 3 {
		first.signal(syscall.SIGKILL)
		first.wait()
		watch.lineWith(watch.err, "lost the broker")
		first, _ = startBroker(t, "--listen", broker, "--data", data)
		f := do(t, "pub", "news", "hello")
		require.Equal(t, exitOK, f.code, "the topic was not lost: %s", f.err)
		f = do(t, "call", "echo", `{"back":true}`)
		require.Equal(t, finished{exitOK, "{\"back\":true}\n", ""}, f, "the provider counts as there, or is back")
		watch.lineWith(watch.err, "connected to the broker")
	}
	provider.signal(syscall.SIGTERM)
	watch.lineWith(watch.out, "OFFLINE "+addr)
	assert.Equal(t, 1, strings.Count(watch.out.text(), "OFFLINE"))
	require.Equal(t, exitOK, inProcess(t, "", "topic", "remove", "news").code)
}

func TestProviderThatDiedWithTheBrokerIsForgottenAfterTheGrace(t *testing.T) {
	data := t.TempDir()
	args := []string{"--listen", "127.0.0.1:0", "--data", data, "--restart-grace", "10s"}
	first, broker := startBroker(t, args...)
	provider, addr := startProvider(t, broker, "echo", "cat")
	first.signal(syscall.SIGKILL)
	first.wait()
	provider.signal(syscall.SIGKILL)
	provider.wait()

	_, broker = startBroker(t, args...)
	watch := start(t, "discover", "echo", "--watch", "--broker", broker)
	watch.lineWith(watch.out, "ONLINE "+addr)
	watch.lineWith(watch.out, "OFFLINE "+addr)
}

func TestDataOfARunningBrokerIsRefused(t *testing.T) {
	data := t.TempDir()
	startBroker(t, "--listen", "127.0.0.1:0", "--data", data)
	f := do(t, "broker", "--listen", "127.0.0.1:0", "--data", data)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, data)
	assert.Contains(t, f.err, "another process")
}
