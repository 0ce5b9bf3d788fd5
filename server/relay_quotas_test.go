package server_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/access"
	"trefoil/client"
	"trefoil/server"
)

// TestRelayedCallsCount like others: towards the caller's quota, and the rate of its
// identity.
func TestRelayedCallsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard := bounded(t, `{"in_flight": 2}`)
		s := start(t, server.WithGuard(guard), server.WithLogger(quietLog()))
		defer s.stop()
		conn, _ := s.dial(client.WithLogger(quietLog()))
		w := newWaiter()
		srv := server.NewRpcServer("srv", server.WithTransport(s.network.Server), server.WithLogger(quietLog()),
			server.WithRegistry(client.NewRegistryClient(conn)), server.WithAdvertise(abstract.Host{IP: "nowhere", Port: 1}))
		w.on(t, srv)
		require.NoError(t, srv.Announce(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve() }()
		r := rawOver(t, s.network, "broker").hello()
		relayed := func(id string) frame { return frame{0, id, `{"method":"wait","parameters":{},"relay":1}`} }
		r.send(relayed("1"), relayed("2"))
		<-w.begun
		<-w.begun
		r.send(relayed("3"))
		assert.Equal(t, "20 in_flight", refusedBy(r.expectNot(18)))
		r.send(frame{23, "1", `{}`})
		assert.Equal(t, 17, r.expectNot(18).rcode())
		r.send(relayed("3"))
		<-w.begun
		require.NoError(t, r.Close())
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		assert.Zero(t, guard.Account(access.Anonymous).Used(access.InFlight))

		s.broker.SetLimits(server.Limits{CallRate: 1})
		r = rawOver(t, s.network, "broker").hello()
		r.send(relayed("1"))
		<-w.begun
		r.send(relayed("2"))
		f := r.expectNot(18)
		assert.Equal(t, 20, f.rcode())
		assert.Contains(t, f.field("message"), "more often than is allowed")
		require.NoError(t, r.Close())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, srv.Shutdown(ctx))
		require.NoError(t, <-ended)
		require.NoError(t, conn.Close())
	})
}
