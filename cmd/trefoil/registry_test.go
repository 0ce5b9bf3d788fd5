//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// registers keeps a provider registered until the returned function is called.
func registers(t *testing.T, broker string, p abstract.Provider) (leave func()) {
	t.Helper()
	conn, err := client.Dial(context.Background(), broker)
	require.NoError(t, err)
	leave = func() { _ = conn.Close() }
	t.Cleanup(leave)
	require.NoError(t, client.NewRegistryClient(conn).Register(context.Background(), p))
	return leave
}

// free is an address where nobody listens.
func free(t *testing.T) abstract.Host {
	t.Helper()
	host, err := abstract.ParseHost(freeAddr(t))
	require.NoError(t, err)
	return host
}

func TestRegistryStatusSaysWhoIsNotWell(t *testing.T) {
	_, broker := startBroker(t, "--listen", "127.0.0.1:0", "--health-interval", "50ms", "--health-failures", "1")
	t.Setenv("TREFOIL_BROKER", broker)
	assert.Equal(t, finished{exitOK, statusText("0", "none", "none"), ""}, inProcess(t, "", "registry", "status"))

	nobody, resting := free(t), free(t)
	registers(t, broker, abstract.Provider{Method: "a", Host: nobody, Instance: "i", Hello: true})
	registers(t, broker, abstract.Provider{Method: "b", Host: resting, Instance: "i", Hello: true, Traits: abstract.Traits{State: abstract.Retiring}})
	want := statusText("2", resting.String(), nobody.String())
	require.Eventually(t, func() bool { return inProcess(t, "", "registry", "status").out == want }, patience, 20*time.Millisecond)

	var st server.RegistryStatus
	require.NoError(t, json.Unmarshal([]byte(inProcess(t, "", "registry", "status", "--json").out), &st))
	assert.Equal(t, []string{nobody.String()}, st.Unhealthy)
	assert.Equal(t, finished{exitOK, "nobody was kept; losses are believed\n", ""}, inProcess(t, "", "registry", "lift"))
}

func statusText(n, draining, unhealthy string) string {
	return fmt.Sprintf("methods      %s\nhosts        %s\nconnections  %s\ndraining     %s\nunhealthy    %s\nlost         none\nprotection   off\n", n, n, n, draining, unhealthy)
}

func TestRegistryCommandsSayWhatToDo(t *testing.T) {
	f := inProcess(t, "", "registry")
	assert.Equal(t, exitUsage, f.code)
	assert.Contains(t, f.err, "status, or lift")
	_, broker := startBroker(t, "--listen", "127.0.0.1:0", "--serve", "rpc,topic")
	f = inProcess(t, "", "registry", "status", "--broker", broker)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "roles rpc and registry")
	f = inProcess(t, "", "registry", "lift", "--broker", free(t).String())
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "trefoil broker")
}

func TestBrokerThatDialsBackTellsTheProviderWhatIsWrong(t *testing.T) {
	_, broker := startBroker(t, "--listen", "127.0.0.1:0", "--dial-back", "10s")
	startProvider(t, broker, "there", "cat")
	f := inProcess(t, "", "registry", "status", "--broker", broker)
	assert.Contains(t, f.out, "hosts        1\n")

	conn, err := client.Dial(context.Background(), broker)
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = client.NewRegistryClient(conn).Register(ctx, abstract.Provider{Method: "m", Host: free(t), Instance: "i", Hello: true})
	require.ErrorIs(t, err, abstract.ErrUnavailable)
	assert.ErrorContains(t, err, "--advertise HOST:PORT")
	f = inProcess(t, "", "discover", "m", "--broker", broker)
	assert.Equal(t, exitFailed, f.code)
}
