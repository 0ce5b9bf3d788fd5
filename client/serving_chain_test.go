package client_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// A handler hears that its caller has given up, and so does the handler that it has
// called in turn; what it may use of its caller's time it has from the request.
func TestGivingUpAndDeadlinesGoThroughAChain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		reg, found := client.NewRegistryClient(conn), w.rpc(client.NewDiscoveryClient(conn))
		ended, left := make(chan error, 2), make(chan time.Duration, 2)
		serve := func(name string, handler func(context.Context) error) {
			srv := server.NewRpcServer(name, server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithRegistry(reg))
			require.NoError(w, server.Handle(srv, name[:4], func(ctx context.Context, _ struct{}) (string, error) {
				deadline, _ := ctx.Deadline()
				left <- time.Until(deadline)
				err := handler(ctx)
				ended <- context.Cause(ctx)
				return "", err
			}))
			w.run(srv)
		}
		serve("leaf-1:9000", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		serve("tier-1:9000", func(ctx context.Context) error { return found.Call(ctx, "leaf", nil, nil, client.Timeout(time.Hour)) })
		synctest.Wait()

		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Second, cancel)
		begun := time.Now()
		assert.ErrorIs(w, found.Call(ctx, "tier", nil, nil, client.Timeout(4*time.Second)), abstract.ErrCancelled)
		assert.ErrorIs(w, <-ended, abstract.ErrCancelled)
		assert.ErrorIs(w, <-ended, abstract.ErrCancelled)
		assert.InDelta(w, time.Second, time.Since(begun), float64(10*time.Millisecond), "both heard of it at once")
		assert.InDelta(w, 4*time.Second, <-left, float64(10*time.Millisecond))
		assert.InDelta(w, 3900*time.Millisecond, <-left, float64(10*time.Millisecond), "less a margin")
	})
}
