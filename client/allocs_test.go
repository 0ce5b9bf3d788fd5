//go:build !race

// The race detector makes sync.Pool forget at random, and allocations mean nothing.

package client_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/client"
	"trefoil/server"
)

type echoed struct {
	Text string `json:"text"`
}

// TestAllocationsOfACall counts those of the client and of the server together:
// a call costs what its values cost, and little beside it.
func TestAllocationsOfACall(t *testing.T) {
	srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(quiet))
	require.NoError(t, server.Handle(srv, "echo", func(_ context.Context, in echoed) (string, error) { return in.Text, nil }))
	require.NoError(t, srv.Listen())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	ctx := t.Context()
	rpc, err := client.DialRpc(ctx, srv.Addr().String(), client.WithLogger(quiet))
	require.NoError(t, err)

	var out string
	in := &echoed{Text: "a text that is as long as the texts of a benchmark are, more or less"}
	answers := make(chan error, 1)
	for name, mode := range map[string]struct {
		call func() error
		most float64
	}{
		"Call":       {func() error { return rpc.Call(ctx, "echo", in, &out) }, 11},
		"CallFuture": {func() error { return rpc.CallFuture(ctx, "echo", in).Wait(ctx, &out) }, 13},
		"CallFunc": {func() error {
			rpc.CallFunc(ctx, "echo", in, func(r client.Reply, err error) { answers <- err })
			return <-answers
		}, 14},
	} {
		t.Run(name, func(t *testing.T) {
			for range 100 {
				require.NoError(t, mode.call())
			}
			allocs := testing.AllocsPerRun(2000, func() {
				if mode.call() != nil {
					t.Error("failed")
				}
			})
			t.Logf("%.1f objects", allocs)
			assert.LessOrEqual(t, allocs, mode.most)
		})
	}
	require.NoError(t, rpc.Close())
	require.NoError(t, srv.Shutdown(context.Background()))
	require.NoError(t, <-ended)
}
