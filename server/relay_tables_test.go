package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
)

// leftOver says what is left of relayed calls in a broker's tables.
func leftOver(b *Broker) (left []string) {
	note := func(what string, n int) {
		if n != 0 {
			left = append(left, fmt.Sprintf("%d %s", n, what))
		}
	}
	note("active", b.RelayedCalls())
	for _, c := range b.ep.all() {
		note("calls of a caller", len(c.relaying.calls))
		note("bytes of them", int(c.relaying.bytes))
		note("cancellable calls", len(c.cancellable.byID))
		if end := c.relaying.end.Load(); end != nil {
			note("calls to a provider", end.requests.Len())
			note("flushes", len(end.owed))
		}
	}
	for end := range b.ep.relay.ends {
		if end.conn.ctx.Err() != nil {
			left = append(left, "an end of a connection that is gone")
		}
	}
	return left
}

// TestNothingIsLeftOfRelayedCalls: callers give up, deadlines pass, connections are
// lost, limits are reached, in any mixture.
func TestNothingIsLeftOfRelayedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network, quiet := mem.NewNetwork(), slog.New(slog.NewTextHandler(io.Discard, nil))
		run := func(srv interface {
			abstract.BaseServer
			Listen() error
		}) {
			require.NoError(t, srv.Listen())
			ended := make(chan error, 1)
			go func() { ended <- srv.Serve() }()
			t.Cleanup(func() {
				require.NoError(t, srv.Shutdown(context.Background()))
				require.NoError(t, <-ended)
			})
		}
		dial := func() *client.Conn {
			conn, err := client.Dial(t.Context(), "broker", client.WithTransport(network.Client), client.WithLogger(quiet), client.WithBackoff(1, time.Millisecond))
			require.NoError(t, err)
			return conn
		}
		b := NewBroker("broker", WithTransport(network.Server), WithLogger(quiet), WithCallsPerConn(8))
		run(b)
		for i := range 3 {
			conn := dial()
			t.Cleanup(func() { _ = conn.Close() })
			srv := NewRpcServer(fmt.Sprintf("inside-%d", i), WithTransport(network.Server), WithLogger(quiet), WithRegistry(client.NewRegistryClient(conn)), WithAdvertise(abstract.Host{IP: "10.0.0.1", Port: 1 + i}))
			require.NoError(t, Handle(srv, "any", func(ctx context.Context, _ struct{}) (int, error) {
				select {
				case <-time.After(rand.N(30 * time.Millisecond)):
					return 1, nil
				case <-ctx.Done():
					return 0, ctx.Err()
				}
			}))
			run(srv)
			require.NoError(t, srv.Announce(t.Context()))
		}
		codes := map[abstract.RCode]int{}
		ended := make(chan error, 10_000)
		calls := 0
		for round := range 20 {
			conns := []*client.Conn{dial(), dial()}
			callers := []*client.RpcClient{client.NewDirectRpcClient(conns[0]), client.NewDirectRpcClient(conns[1])}
			for i := range 100 {
				f := callers[i%2].CallFuture(t.Context(), "any", nil, client.Relay(), client.Timeout(rand.N(40*time.Millisecond)+time.Millisecond), client.NoRetry())
				calls++
				go func() { ended <- f.Wait(t.Context(), nil) }()
				if i%4 == 0 {
					time.AfterFunc(rand.N(10*time.Millisecond), f.Cancel)
				}
				time.Sleep(rand.N(300 * time.Microsecond))
			}
			if round%3 == 0 {
				network.Cut()
			}
			for i, conn := range conns { // with calls under way
				require.NoError(t, conn.Close())
				require.NoError(t, callers[i].Close())
			}
		}
		for range calls {
			codes[abstract.CodeOf(<-ended)]++
		}
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Empty(t, leftOver(b))
		for _, code := range []abstract.RCode{abstract.OK, abstract.Timeout, abstract.Cancelled, abstract.Disconnected, abstract.Overloaded} {
			assert.NotZero(t, codes[code], code)
		}
	})
}
