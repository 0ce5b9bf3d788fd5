package client_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/client"
	"trefoil/server"
)

// What was sent before a client closes arrives, however much of it waits to be written
// then. In virtual time no machine is too slow for that.
func TestClosingDoesNotOvertakeWhatWasSent(t *testing.T) {
	const requests = 500
	inWorld(t, func(w *world) {
		srv := server.NewRpcServer("server", server.WithTransport(w.net.Server), server.WithLogger(quiet))
		var got atomic.Int64
		require.NoError(w, server.Handle(srv, "note", func(context.Context, map[string]any) (int, error) {
			got.Add(1)
			return 0, nil
		}))
		w.run(srv)
		calls, err := client.DialRpc(ctx, "server", client.WithTransport(w.net.Client), client.WithLogger(quiet))
		require.NoError(w, err)
		text := strings.Repeat("x", 8<<10)
		for range requests {
			require.NoError(w, calls.Send(ctx, "note", map[string]any{"text": text}))
		}
		require.NoError(w, calls.Close())
		synctest.Wait()
		assert.EqualValues(w, requests, got.Load())
	})
}
