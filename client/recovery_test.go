package client_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/memstore"
	"trefoil/server"
)

// A Discover that failed must not keep everybody else from ever asking.
func TestFollowAsksAfterADiscoverThatFailed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		w.provider(host(1), client.NewRegistryClient(conn))
		d := client.NewDiscoveryClient(conn)

		over, cancel := context.WithCancel(ctx)
		cancel()
		_, err := d.Discover(over, "who")
		require.Error(w, err)

		rpc := w.rpc(d)
		var who string
		require.NoError(w, rpc.Call(ctx, "who", nil, &who))
		assert.Equal(w, host(1), who)
	})
}

// Subscribing right after the last subscription was left must not be undone by
// the cancel that is still on its way.
func TestSubscribingAgainIsNotUndoneByTheCancelBefore(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		publisher, subscriber := client.NewTopicClient(w.dial()), client.NewTopicClient(w.dial())
		require.NoError(w, publisher.Create(ctx, "news"))

		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					_ = publisher.Publish(ctx, "news", "m")
				}
			}
		}()
		defer func() { close(stop); <-ended }()

		for i := range 200 {
			limited, cancel := context.WithTimeout(ctx, time.Minute)
			for _, err := range subscriber.Messages(limited, "news") {
				require.NoError(w, err, "loop %d hears nothing for a minute", i)
				break
			}
			cancel()
		}
	})
}

// A provider that goes OFFLINE while its connection is being opened must not
// leave that connection behind.
func TestConnectionOpenedToAProviderThatWentOfflineIsClosed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn, reg := w.dial(), w.dial()
		w.provider(host(1), client.NewRegistryClient(reg))

		var open atomic.Int32
		slow := func(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
			inner := cfg.OnOpen
			cfg.OnOpen = func(bc abstract.BaseConnection) abstract.Receiver {
				open.Add(1)
				go func() { <-bc.Done(); open.Add(-1) }()
				return inner(bc)
			}
			return latecomerClient{w.net.Client(addr, cfg)}
		}
		rpc := client.NewRpcClient(client.NewDiscoveryClient(conn), client.WithTransport(slow), client.WithLogger(quiet))
		future := rpc.CallFuture(ctx, "who", nil)
		synctest.Wait() // the call waits for the connection
		list, err := client.NewDiscoveryClient(conn).Discover(ctx, "who")
		require.NoError(w, err)
		p := list[0]
		for _, m := range []string{"who", "sum", "hang", "fail"} {
			p.Method = m
			require.NoError(w, client.NewRegistryClient(reg).Unregister(ctx, p))
		}
		synctest.Wait()
		_ = future.Wait(ctx, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Zero(w, open.Load(), "nobody wants the connection any more")
		require.NoError(w, rpc.Close())
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Zero(w, open.Load(), "not even after Close")
	})
}

type latecomerClient struct{ abstract.BaseClient }

func (c latecomerClient) Connect(ctx context.Context) (abstract.BaseConnection, error) {
	time.Sleep(time.Second)
	return c.BaseClient.Connect(ctx)
}

// One provider that cannot be reached (its address swallows connections) must not
// cost the calls that another provider could serve.
func TestCallMovesOnFromAProviderThatCannotBeReached(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		reg := client.NewRegistryClient(conn)
		require.NoError(w, reg.Register(ctx, abstract.Provider{Method: "who", Host: abstract.Host{IP: "host-9", Port: 9000}}))
		w.provider(host(1), reg)
		transport := func(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
			if addr == host(9) {
				return swallowingClient{}
			}
			return w.net.Client(addr, cfg)
		}
		rpc := client.NewRpcClient(client.NewDiscoveryClient(conn), client.WithTransport(transport), client.WithLogger(quiet))
		defer rpc.Close()
		var failed, late atomic.Int32
		var calls sync.WaitGroup
		for range 300 { // ten a second
			calls.Go(func() {
				begun := time.Now()
				if rpc.Call(ctx, "who", nil, nil) != nil {
					failed.Add(1)
				} else if time.Since(begun) > time.Second {
					late.Add(1)
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		calls.Wait()
		assert.Zero(w, failed.Load(), "of 300 calls, each with the default deadline, while a second provider is well")
		assert.Zero(w, late.Load(), "more than a second late")
	})
}

type swallowingClient struct{}

func (swallowingClient) Connect(ctx context.Context) (abstract.BaseConnection, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A registration that the broker refuses after a reconnect is tried again.
func TestRegistrationRefusedAfterAReconnectIsTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		store := &sickStore{Store: newStore()}
		w.broker(server.WithStore(store))
		conn := w.dial()
		require.NoError(w, client.NewRegistryClient(conn).Register(ctx, abstract.Provider{Method: "who", Host: abstract.Host{IP: "h", Port: 1}}))
		store.sick.Store(true)
		w.net.Cut()
		time.Sleep(10 * time.Second) // it has reconnected, and was refused
		store.sick.Store(false)
		time.Sleep(5 * time.Minute)
		list, err := client.NewDiscoveryClient(w.dial()).Discover(ctx, "who")
		require.NoError(w, err)
		assert.Len(w, list, 1, "OnProblem says that it is being tried again")
	})
}

// What is unregistered while the connection is being restored stays unregistered.
func TestUnregisterWhileTheConnectionIsRestored(t *testing.T) {
	inWorld(t, func(w *world) {
		store := &sickStore{Store: newStore()}
		w.broker(server.WithStore(store))
		conn := w.dial()
		reg, p := client.NewRegistryClient(conn), abstract.Provider{Method: "who", Host: abstract.Host{IP: "h", Port: 1}}
		require.NoError(w, reg.Register(ctx, p))
		store.slow.Store(true)
		w.net.Cut()
		time.Sleep(500 * time.Millisecond) // it has connected again, and registers
		require.False(w, conn.Connected())
		require.NoError(w, reg.Unregister(ctx, p))
		time.Sleep(time.Minute)
		require.True(w, conn.Connected())
		list, err := client.NewDiscoveryClient(w.dial()).Discover(ctx, "who")
		require.NoError(w, err)
		assert.Empty(w, list)
	})
}

// Close waits for the callbacks that run, those of subscriptions included.
func TestCloseWaitsForASubscriptionsCallback(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		publisher := client.NewTopicClient(w.dial())
		require.NoError(w, publisher.Create(ctx, "news"))
		conn, err := client.Dial(ctx, "broker", client.WithTransport(w.net.Client), client.WithLogger(quiet))
		require.NoError(w, err)
		var running atomic.Bool
		_, err = client.NewTopicClient(conn).Subscribe(ctx, "news", func(client.Message) {
			running.Store(true)
			time.Sleep(time.Second)
			running.Store(false)
		})
		require.NoError(w, err)
		require.NoError(w, publisher.Publish(ctx, "news", 1))
		synctest.Wait()
		require.True(w, running.Load())
		require.NoError(w, conn.Close())
		assert.False(w, running.Load())
		time.Sleep(time.Minute)
	})
}

// A broker that refuses discovery is no reason to wait for the deadline, and
// the error says what it said.
func TestCallSaysWhyTheBrokerDoesNotAnswerDiscovery(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithRoles(server.RoleTopic))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		err := rpc.Call(ctx, "who", nil, nil)
		assert.ErrorIs(w, err, abstract.ErrWrongMessageType)
	})
}

// Names that nobody provides must not use up a connection for good: a gateway
// passes on whatever its users ask for.
func TestAsking4096NamesLeavesRoomForAnother(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		rpc := w.rpc(client.NewDiscoveryClient(conn))
		for i := range 4096 {
			require.ErrorIs(w, rpc.Call(ctx, fmt.Sprint("nosuch-", i), nil, nil), abstract.ErrMethodNotFound)
		}
		w.provider(host(1), client.NewRegistryClient(w.dial()))
		var sum int
		require.NoError(w, rpc.Call(ctx, "sum", sumArgs{1, 2}, &sum))
	})
}

// A topic that somebody else removed stays removed when its creator's connection
// is lost for a moment: the broker has not restarted.
func TestRemovedTopicDoesNotComeBackWithItsCreator(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		creator, other := w.dial(), w.dial()
		require.NoError(w, client.NewTopicClient(creator).Create(ctx, "news"))
		require.NoError(w, client.NewTopicClient(other).Remove(ctx, "news"))
		w.net.Cut()
		time.Sleep(time.Minute)
		require.True(w, creator.Connected())
		assert.ErrorIs(w, client.NewTopicClient(other).Publish(ctx, "news", 1), abstract.ErrTopicNotFound)
	})
}

// Every error of the API has a code that fits.
func TestIteratorsEndWithErrorsThatHaveACode(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		topics := client.NewTopicClient(w.dial())
		require.NoError(w, topics.Create(ctx, "news"))
		sub, err := topics.Subscribe(ctx, "news", nil)
		require.NoError(w, err)
		require.NoError(w, sub.Cancel(ctx))
		for _, err := range sub.Messages(ctx) {
			assert.ErrorIs(w, err, abstract.ErrCancelled)
		}
	})
}

func newStore() abstract.Store { return memstore.New() }

// sickStore refuses registrations while it is sick, and takes a second for each
// while it is slow.
type sickStore struct {
	abstract.Store
	sick, slow atomic.Bool
}

func (s *sickStore) Txn(ctx context.Context, t abstract.Txn) (abstract.TxnResult, error) {
	if s.sick.Load() && len(t.Then) > 0 && !t.Then[0].Delete {
		return abstract.TxnResult{}, abstract.Errorf(abstract.Overloaded, "the store is too slow; try later")
	}
	if s.slow.Load() && len(t.Then) > 0 && !t.Then[0].Delete {
		time.Sleep(time.Second)
	}
	return s.Store.Txn(ctx, t)
}
