//go:build unix

package main

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// TestManyLargeReadsAtOnceCloseNobody has one connection read far more at once than
// may wait for it. It does read, so it is answered as fast as it does.
func TestManyLargeReadsAtOnceCloseNobody(t *testing.T) {
	broker := startCommand(t, exec.Command(fastBinary(t), "broker", "--listen", "127.0.0.1:0", "--log-level", "warn"))
	addr := strings.TrimPrefix(broker.line(broker.out), "listening on ")
	_, nodes := dialBroker(t, addr, client.WithTimeout(2*time.Minute))
	_, err := nodes.Create(t.Context(), "/large", []byte(strings.Repeat("x", 1<<20)))
	require.NoError(t, err)
	// The rule is about the connection: how long 200 MiB take on a busy machine is not judged.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	var mu sync.Mutex
	codes := map[abstract.RCode]int{}
	for range 200 {
		running.Go(func() {
			_, err := nodes.Get(ctx, "/large")
			mu.Lock()
			defer mu.Unlock()
			codes[abstract.CodeOf(err)]++
		})
	}
	running.Wait()
	t.Logf("200 reads of 1 MiB at once: %v", codes)
	assert.Equal(t, 200, codes[abstract.OK], "%v", codes)
	assert.Empty(t, broker.err.lines, "the broker has closed the connection")
	_, err = nodes.Get(t.Context(), "/large")
	assert.NoError(t, err)
}
