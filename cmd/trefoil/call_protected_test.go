package main

import (
	"encoding/json"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// TestCallIsExplained calls a method of which one provider answers and another one
// takes connections and says nothing.
func TestCallIsExplained(t *testing.T) {
	_, broker := startBroker(t)
	_, addr := startProvider(t, broker, "m", "cat")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	conn, err := client.Dial(t.Context(), broker)
	require.NoError(t, err)
	defer conn.Close()
	at, err := abstract.ParseHost(silent.Addr().String())
	require.NoError(t, err)
	require.NoError(t, client.NewRegistryClient(conn).Register(t.Context(), abstract.Provider{Method: "m", Host: at, Instance: "silent", Hello: true}))

	f := do(t, "call", "m", `{"a":1}`, "--explain", "--idempotent", "--hedge", "5ms", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.JSONEq(t, `{"a":1}`, f.out)
	assert.Contains(t, f.err, "m: ")
	assert.Contains(t, f.err, addr)
	assert.Contains(t, f.err, silent.Addr().String())
	assert.Contains(t, f.err, "answered, ")
	assert.Contains(t, f.err, "weight 100", "what is not said is the usual weight")

	f = do(t, "call", "m", `{"a":1}`, "--explain", "--json", "--retry", "3", "--broker", broker)
	require.Equal(t, exitOK, f.code, f.err)
	assert.Empty(t, f.err)
	var out callOutput
	require.NoError(t, json.Unmarshal([]byte(f.out), &out))
	require.Len(t, out.Instances, 2)
	for _, i := range out.Instances {
		assert.Equal(t, "up", i.State)
	}

	f = do(t, "call", "nobody", "--explain", "--broker", broker)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "nobody: 0 attempts")
}
