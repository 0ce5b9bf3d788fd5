//go:build !race

// The race detector makes sync.Pool forget at random, and allocations mean nothing.

package trefoil_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

type echoed struct {
	Text string `json:"text"`
}

// TestAllocationsOfATypedCall compares with an untyped call of the same method, whose
// caller keeps parameters and result and so pays nothing for them: a typed call pays
// for both together once, and a method with options of its own once more.
func TestAllocationsOfATypedCall(t *testing.T) {
	echo := trefoil.NewMethod[echoed, string]("echo")
	often := trefoil.NewMethod[echoed, string]("echo", trefoil.Idempotent())
	srv := server.NewRpcServer("127.0.0.1:0", server.WithLogger(quiet))
	require.NoError(t, echo.Handle(srv, func(_ context.Context, in echoed) (string, error) { return in.Text, nil }))
	require.NoError(t, srv.Listen())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	ctx := t.Context()
	calls, err := client.DialRpc(ctx, srv.Addr().String(), client.WithLogger(quiet))
	require.NoError(t, err)

	in := echoed{"a text that is as long as the texts of a benchmark are, more or less"}
	count := func(call func() error) float64 {
		for range 100 {
			require.NoError(t, call())
		}
		return testing.AllocsPerRun(2000, func() {
			if call() != nil {
				t.Error("failed")
			}
		})
	}
	var caller abstract.Caller = calls
	var out string
	untyped := count(func() error { return caller.Call(ctx, "echo", &in, &out) })
	typed := count(func() error { _, err := echo.Call(ctx, caller, in); return err })
	options := count(func() error { _, err := often.Call(ctx, caller, in); return err })
	t.Logf("untyped %.1f, typed %.1f, with an option %.1f objects", untyped, typed, options)
	assert.LessOrEqual(t, typed, untyped+1.5)
	assert.LessOrEqual(t, options, typed+1.5)

	require.NoError(t, calls.Close())
	require.NoError(t, srv.Shutdown(context.Background()))
	require.NoError(t, <-ended)
}
