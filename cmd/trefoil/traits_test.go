//go:build unix

package main

import (
	"encoding/json"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatAProviderSaysOfItself(t *testing.T) {
	_, broker := startBroker(t, "--listen", "127.0.0.1:0")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	startProvider(t, broker, "echo", "cat", "--listen", "127.0.0.1:"+port, "--advertise", ":"+port,
		"--tags", "fast, blue", "--meta", "rack=7", "--meta", "note=a=b", "--ttl", "30s", "--weight", "5")

	f := do(t, "discover", "echo", "--broker", broker)
	assert.Equal(t, finished{exitOK, "127.0.0.1:" + port + " tags=blue,fast\n", ""}, f, "at the address that the broker sees")

	f = do(t, "discover", "echo", "--broker", broker, "--json")
	require.Equal(t, exitOK, f.code, f.err)
	var out struct{ Providers []providerOutput }
	require.NoError(t, json.Unmarshal([]byte(f.out), &out))
	require.Len(t, out.Providers, 1)
	p := out.Providers[0]
	assert.Equal(t, []string{"blue", "fast"}, p.Tags)
	assert.Equal(t, map[string]string{"rack": "7", "note": "a=b"}, p.Meta)
	assert.Equal(t, "up", p.State)
	assert.Equal(t, 5, p.Weight)
	assert.False(t, p.Held)
}

// The broker is killed, and a command that starts then still finds the provider.
func TestListsOfTheLastTime(t *testing.T) {
	b, broker := startBroker(t, "--listen", "127.0.0.1:0")
	_, addr := startProvider(t, broker, "echo", "cat")
	dir := t.TempDir()
	f := do(t, "discover", "echo", "--broker", broker, "--lists-in", dir)
	require.Equal(t, finished{exitOK, addr + "\n", ""}, f)
	b.signal(syscall.SIGKILL)
	b.wait()

	f = do(t, "discover", "echo", "--broker", broker, "--lists-in", dir)
	assert.Equal(t, finished{exitOK, addr + " held\n", ""}, f)
	f = do(t, "call", "echo", `{"a":1}`, "--broker", broker, "--lists-in", dir)
	assert.Equal(t, finished{exitOK, "{\"a\":1}\n", ""}, f)
	f = do(t, "call", "echo", `{"a":1}`, "--broker", broker)
	assert.Equal(t, 1, f.code, "without the list there is no way")
}

func TestFactsThatAreNone(t *testing.T) {
	for _, fact := range []string{"rack", "=7", ""} {
		f := inProcess(t, "", "provide", "echo", "--exec", "cat", "--meta", fact)
		assert.Equal(t, exitUsage, f.code)
		assert.Contains(t, f.err, "NAME=VALUE")
	}
	assert.Equal(t, exitUsage, inProcess(t, "", "provide", "echo", "--exec", "cat", "--ttl", "-1s").code)
}
