//go:build unix

package server_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/registrytest"
	"trefoil/client"
	"trefoil/concrete/etcd"
	"trefoil/concrete/etcd/etcdtest"
	"trefoil/concrete/zookeeper"
	"trefoil/server"
)

// life is for how long a registry believes in who says nothing: none of these tests waits
// for that, and none is to fail because a machine stood still for a moment.
const life = 6 * time.Second

// eachRegistry runs a test over the registries that are no broker's. open makes another
// client of it, through a proxy.
func eachRegistry(t *testing.T, test func(t *testing.T, open func(*testing.T) abstract.Registry, proxy *registrytest.Proxy)) {
	log := slog.New(slog.DiscardHandler)
	kept := func(t *testing.T, r abstract.Registry, err error) abstract.Registry {
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, r.Close()) })
		return r
	}
	t.Run("zookeeper", func(t *testing.T) {
		proxy := registrytest.NewProxy(t, registrytest.StartZooKeeper(t).Addr)
		test(t, func(t *testing.T) abstract.Registry {
			r, err := zookeeper.New(zookeeper.Config{Servers: []string{proxy.Addr()}, SessionTimeout: life, Root: "/trefoil", Logger: log})
			return kept(t, r, err)
		}, proxy)
	})
	t.Run("etcd", func(t *testing.T) {
		proxy := registrytest.NewProxy(t, etcdtest.Start(t))
		test(t, func(t *testing.T) abstract.Registry {
			r, err := etcd.New(etcd.Config{Endpoints: []string{"http://" + proxy.Addr()}, TTL: life, Logger: log})
			return kept(t, r, err)
		}, proxy)
	})
}

// instance is a server of "who.am", which answers with its own address.
func instance(t *testing.T, r abstract.Registrar) (srv *server.RpcServer, addr string, ended chan error) {
	srv = server.NewRpcServer("127.0.0.1:0", server.WithLogger(slog.New(slog.DiscardHandler)), server.WithRegistry(r))
	require.NoError(t, srv.Listen())
	addr = srv.Addr().String()
	type none struct{}
	require.NoError(t, server.Handle(srv, "who.am", func(context.Context, none) (string, error) { return addr, nil }))
	ended = make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	return srv, addr, ended
}

func TestServersAndClientsMeetAtAnyRegistry(t *testing.T) {
	eachRegistry(t, func(t *testing.T, open func(*testing.T) abstract.Registry, proxy *registrytest.Proxy) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		calls := client.NewRpcClient(open(t), patiently(client.WithLogger(slog.New(slog.DiscardHandler)))...)
		defer calls.Close()
		first, firstAddr, firstEnded := instance(t, open(t))
		second, secondAddr, secondEnded := instance(t, open(t))
		require.NoError(t, first.Announce(ctx))
		require.NoError(t, second.Announce(ctx))
		ask := func() string {
			var who string
			require.NoError(t, calls.Call(ctx, "who.am", nil, &who))
			return who
		}
		seen := map[string]bool{}
		for len(seen) < 2 {
			seen[ask()] = true
		}
		assert.Equal(t, map[string]bool{firstAddr: true, secondAddr: true}, seen)

		proxy.Away(true) // calls go on without the registry
		for range 100 {
			ask()
		}
		proxy.Away(false)

		require.NoError(t, first.Shutdown(ctx))
		require.NoError(t, <-firstEnded)
		for range 100 {
			assert.Equal(t, secondAddr, ask(), "no call fails while one retires")
		}
		require.NoError(t, second.Shutdown(ctx))
		require.NoError(t, <-secondEnded)
		for {
			var who string
			err := calls.Call(ctx, "who.am", nil, &who)
			require.Error(t, err)
			if abstract.CodeOf(err) == abstract.ServiceNotFound {
				break
			}
		}
	})
}

// A server that starts while its registry is away serves, and is registered later.
func TestServerServesWhileItsRegistryIsAway(t *testing.T) {
	eachRegistry(t, func(t *testing.T, open func(*testing.T) abstract.Registry, proxy *registrytest.Proxy) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		proxy.Away(true)
		srv, addr, ended := instance(t, open(t))
		direct, err := client.DialRpc(ctx, addr, patiently()...)
		require.NoError(t, err)
		defer direct.Close()
		var who string
		require.NoError(t, direct.Call(ctx, "who.am", nil, &who))
		assert.Equal(t, addr, who)
		proxy.Away(false)
		found := make(chan struct{}, 100)
		stop := open(t).Follow("who.am", func(p abstract.Providers) {
			if len(p.List) == 1 {
				found <- struct{}{}
			}
		})
		defer stop()
		select {
		case <-found:
		case <-ctx.Done():
			require.FailNow(t, "it was never registered")
		}
		require.NoError(t, srv.Shutdown(ctx))
		require.NoError(t, <-ended)
	})
}
