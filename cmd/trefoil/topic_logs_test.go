package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTopicLogsThatCannotBeOpenedKeepTheBrokerFromStarting(t *testing.T) {
	f := inProcess(t, "", "broker", "--listen", "127.0.0.1:0", "--nats", "nats://127.0.0.1:1")
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "open the durable topics in NATS")
	assert.Contains(t, f.err, "no server can be reached")

	dir := t.TempDir()
	assert.NoError(t, os.WriteFile(filepath.Join(dir, "topics"), nil, 0o600))
	f = inProcess(t, "", "broker", "--listen", "127.0.0.1:0", "--data", dir)
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, filepath.Join(dir, "topics"))

	f = inProcess(t, "", "broker", "--listen", "127.0.0.1:0", "--nats", "nats://127.0.0.1:1", "--nats-replicas", "2")
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "take 1, 3 or 5")
}
