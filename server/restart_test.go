package server_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/registry"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
	"trefoil/server"
)

// abandoned is a store in which a broker that was killed has left a provider for
// each port.
func abandoned(t *testing.T, method string, ports ...int) abstract.Store {
	store := memstore.New()
	old := registry.NewPDManager(registry.Config{Broker: "old"})
	for i, port := range ports {
		txn, err := old.PlanRegister(registry.ConnID(i), message.ProviderHost{Host: abstract.Host{IP: "h", Port: port}, Hello: true}, method)
		require.NoError(t, err)
		res, err := store.Txn(t.Context(), txn)
		require.NoError(t, err)
		require.True(t, res.Changed)
	}
	return store
}

func TestProvidersOfAnEarlierRunHaveAGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork()
		store := abandoned(t, "m", 1, 2)
		b := server.NewBroker("broker", server.WithTransport(network.Server), server.WithStore(store), server.WithRestartGrace(10*time.Second))
		require.NoError(t, b.Listen())
		ended := make(chan error, 1)
		go func() { ended <- b.Serve() }()
		conn, err := client.Dial(t.Context(), "broker", client.WithTransport(network.Client))
		require.NoError(t, err)
		discovery := client.NewDiscoveryClient(conn)
		offline := make(chan int, 10)
		stop := discovery.Follow("m", func(p abstract.Providers) {
			for _, gone := range p.Offline {
				offline <- gone.Host.Port
			}
		})
		ports := func() (list []int) {
			all, err := discovery.Discover(t.Context(), "m")
			require.NoError(t, err)
			for _, p := range all {
				list = append(list, p.Host.Port)
			}
			return list
		}
		assert.Equal(t, []int{1, 2}, ports())

		// One of the two comes back in time.
		back := abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: 2}, Hello: true}
		require.NoError(t, client.NewRegistryClient(conn).Register(t.Context(), back))
		time.Sleep(9 * time.Second)
		synctest.Wait()
		assert.Equal(t, []int{1, 2}, ports())
		assert.Empty(t, offline)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, []int{2}, ports())
		assert.Len(t, offline, 1)
		assert.Equal(t, 1, <-offline)
		left, _, err := store.Range(t.Context(), registry.Prefix, 0)
		require.NoError(t, err)
		assert.Len(t, left, 1)

		stop()
		require.NoError(t, conn.Close())
		require.NoError(t, b.Shutdown(context.Background()))
		require.NoError(t, <-ended)
	})
}

// TestStoreThatFailsIsAskedAgain: what could not be removed when a connection was
// lost is removed later.
func TestStoreThatFailsIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := mem.NewNetwork()
		store := &failing{Store: memstore.New()}
		b := server.NewBroker("broker", server.WithTransport(network.Server), server.WithStore(store))
		require.NoError(t, b.Listen())
		ended := make(chan error, 1)
		go func() { ended <- b.Serve() }()
		conn, err := client.Dial(t.Context(), "broker", client.WithTransport(network.Client))
		require.NoError(t, err)
		p := abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: 2}}
		require.NoError(t, client.NewRegistryClient(conn).Register(t.Context(), p))
		store.fail.Store(true)
		require.NoError(t, conn.Close())
		synctest.Wait()
		left := func() int {
			kvs, _, err := store.Range(t.Context(), registry.Prefix, 0)
			require.NoError(t, err)
			return len(kvs)
		}
		require.Equal(t, 1, left())
		time.Sleep(time.Minute)
		require.Equal(t, 1, left())
		store.fail.Store(false)
		time.Sleep(time.Minute)
		assert.Zero(t, left())
		require.NoError(t, b.Shutdown(context.Background()))
		require.NoError(t, <-ended)
	})
}

// failing is a store that refuses transactions at times.
type failing struct {
	abstract.Store
	fail atomic.Bool
}

func (f *failing) Txn(ctx context.Context, t abstract.Txn) (abstract.TxnResult, error) {
	if f.fail.Load() {
		return abstract.TxnResult{}, abstract.Errorf(abstract.Unavailable, "the store is away")
	}
	return f.Store.Txn(ctx, t)
}
