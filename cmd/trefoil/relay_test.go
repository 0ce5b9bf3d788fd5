//go:build unix

package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A provider whose address nobody can connect to is called through the broker, and
// one that anybody can connect to is when the caller says so.
func TestCallThroughTheBroker(t *testing.T) {
	_, broker := startBroker(t)
	call := func(args ...string) (out callOutput) {
		t.Helper()
		f := inProcess(t, "", append([]string{"call", "echo", `{"a":1}`, "--json", "--broker", broker}, args...)...)
		require.Equal(t, exitOK, f.code, f.err)
		require.NoError(t, json.Unmarshal([]byte(f.out), &out))
		assert.JSONEq(t, `{"a":1}`, string(out.Result))
		return out
	}
	provider, addr := startProvider(t, broker, "echo", "cat")
	assert.False(t, call().Relayed)
	out := call("--relay")
	assert.True(t, out.Relayed)
	assert.Equal(t, addr, out.Instance)
	provider.signal(os.Interrupt)
	require.Equal(t, exitOK, provider.wait())

	shut := freeAddr(t)
	startProvider(t, broker, "echo", "cat", "--advertise", shut)
	out = call()
	assert.True(t, out.Relayed)
	assert.Equal(t, shut, out.Instance)

	f := inProcess(t, "", "call", "echo", "--relay", "--direct", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Equal(t, "{}\n", f.out, "the broker chooses the provider")
}
