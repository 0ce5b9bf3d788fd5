//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestProviderIsThereWhileItIsHealthy, as its command says.
func TestProviderIsThereWhileItIsHealthy(t *testing.T) {
	_, broker := startBroker(t)
	sign := filepath.Join(t.TempDir(), "healthy")
	require.NoError(t, os.WriteFile(sign, nil, 0o600))
	watch := start(t, "discover", "m", "--watch", "--broker", broker)
	require.Equal(t, "watching m", watch.line(watch.out))
	_, addr := startProvider(t, broker, "m", "cat", "--ttl", "1s", "--health", "test -e "+sign)
	require.Equal(t, "ONLINE "+addr, watch.line(watch.out))
	require.NoError(t, os.Remove(sign))
	require.Equal(t, "OFFLINE "+addr+" unregistered", watch.line(watch.out))
	require.NoError(t, os.WriteFile(sign, nil, 0o600))
	require.Equal(t, "ONLINE "+addr, watch.line(watch.out))
	watch.signal(os.Interrupt)
	assert.Equal(t, exitOK, watch.wait())
}

func TestProviderRefusesWhatItIsToldTo(t *testing.T) {
	_, broker := startBroker(t)
	_, addr := startProvider(t, broker, "m", "cat", "--call-rate", "1", "--shed")
	f := do(t, "call", "m", "--direct", addr)
	require.Equal(t, exitOK, f.code, f.err)
	for f.code == exitOK { // until two come within a second
		f = do(t, "call", "m", "--direct", addr, "--retry", "1")
	}
	assert.Contains(t, f.err, "more often than it allows")
}
