package examples_test

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/jetstream"
	"trefoil/server"
)

// TestOrdersAreBilledOrBuried runs the example of a durable topic twice: the second time
// everything is there already, and only what is new is done.
func TestOrdersAreBilledOrBuried(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	logs, err := jetstream.Open(ctx, jetstream.Config{Dir: t.TempDir(), Sync: jetstream.SyncOS, Logger: quiet()})
	require.NoError(t, err)
	defer logs.Close()
	broker := server.NewBroker("127.0.0.1:0", server.WithTransport(server.StandardNet), server.WithLogger(quiet()), server.WithTopicLog(logs), server.WithPing(time.Minute, 5))
	require.NoError(t, broker.Listen())
	ended := make(chan error, 1)
	go func() { ended <- broker.Serve() }()
	defer func() {
		assert.NoError(t, broker.Shutdown(context.Background()))
		assert.NoError(t, <-ended)
	}()

	program := build(t, "./docs/examples/topics")
	run := func() string {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, program, "--broker", broker.Addr().String())
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		require.NoError(t, cmd.Run(), stderr.String())
		assert.Equal(t, 2, strings.Count(stderr.String(), "given back"), stderr.String())
		return stdout.String()
	}
	want := read(t, "docs/examples/topics/output.txt")
	assert.Equal(t, want, run())
	again := strings.NewReplacer(
		"order 1", "order 4", "order 2", "order 5", "order 3", "order 6", "offset 1", "offset 4", "offset 2", "offset 5", "offset 3", "offset 6", `"id":2`, `"id":5`, `"id":4`, `"id":7`,
	).Replace(want)
	assert.Equal(t, again, run())
}
