package server_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
	"trefoil/server"
)

// waitingStore is a store behind a disk: a transaction waits until it is let go,
// within its context.
type waitingStore struct {
	*memstore.Store
	mu    sync.Mutex
	gate  chan struct{} // nil: nothing waits
	after chan struct{} // unless nil, what is given up takes effect when this is closed
}

func (s *waitingStore) Instant() bool { return false }

func (s *waitingStore) Txn(ctx context.Context, t abstract.Txn) (abstract.TxnResult, error) {
	s.mu.Lock()
	gate, after := s.gate, s.after
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			if after != nil {
				go func() {
					<-after
					_, _ = s.Store.Txn(context.Background(), t)
				}()
			}
			return abstract.TxnResult{}, &abstract.Error{Code: abstract.UnknownFate, Op: "txn", Err: ctx.Err()}
		}
	}
	return s.Store.Txn(ctx, t)
}

// hold lets what comes from now on wait, until release is called.
func (s *waitingStore) hold() (release func()) {
	gate := make(chan struct{})
	s.mu.Lock()
	s.gate = gate
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.gate = nil
		s.mu.Unlock()
		close(gate)
	}
}

func echo(_ context.Context, in message.Raw) (any, error) { return in, nil }

func TestCallsDoNotWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &waitingStore{Store: memstore.New()}
		defer store.Close()
		s := start(t, server.WithStore(store))
		defer s.stop()
		require.NoError(t, s.broker.HandleFunc(server.Description{Method: "echo", Result: server.KindAny}, echo))
		conn, nodes := s.dial()
		defer conn.Close()
		rpc := client.NewDirectRpcClient(conn)
		release := store.hold()
		created := make(chan error, 1)
		go func() {
			_, err := nodes.Create(t.Context(), "/a", nil)
			created <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var out map[string]int
		require.NoError(t, rpc.Call(ctx, "echo", map[string]int{"n": 7}, &out))
		assert.Equal(t, 7, out["n"])
		assert.Empty(t, created)
		release()
		assert.NoError(t, <-created)
	})
}

func TestManyWhoWaitForTheStoreHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &waitingStore{Store: memstore.New()}
		defer store.Close()
		s := start(t, server.WithStore(store))
		defer s.stop()
		require.NoError(t, s.broker.HandleFunc(server.Description{Method: "echo", Result: server.KindAny}, echo))
		conn, _ := s.dial()
		defer conn.Close()
		release := store.hold()
		const waiting = 1500 // more than there are goroutines to deliver on
		var done sync.WaitGroup
		for i := range waiting {
			c, _ := s.dial()
			done.Go(func() {
				assert.NoError(t, client.NewTopicClient(c).Create(t.Context(), "t"+strconv.Itoa(i)))
				assert.NoError(t, c.Close())
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, client.NewDirectRpcClient(conn).Call(ctx, "echo", map[string]int{"n": 7}, nil))
		release()
		done.Wait()
	})
}

func TestRequestsOfAConnectionKeepTheirOrderBehindTheStore(t *testing.T) {
	store := &waitingStore{Store: memstore.New()}
	defer store.Close()
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithStore(store)))
	r := dialRaw(t, b.Addr())
	release := store.hold()
	r.send(
		frame{2, "1", `{"optype":0,"topic_key":"t"}`},
		frame{2, "2", `{"optype":2,"topic_key":"t"}`},
		frame{2, "3", `{"optype":4,"topic_key":"t","topic_msg":"hi"}`},
		frame{2, "4", `{"optype":1,"topic_key":"t"}`},
	)
	release()
	for _, id := range []string{"1", "2"} {
		assert.Equal(t, id, r.expect().id)
	}
	assert.Contains(t, r.expect().body, `"hi"`, "the push comes to who subscribed before")
	for _, id := range []string{"3", "4"} {
		assert.Equal(t, id, r.expect().id)
	}
}

// TestTheEndOfAConnectionComesBehindItsRegistrations is what the registry counts on: it
// is asked for nothing by a connection whose end it has seen.
func TestTheEndOfAConnectionComesBehindItsRegistrations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &waitingStore{Store: memstore.New()}
		defer store.Close()
		network := mem.NewNetwork()
		serve(t, server.NewBroker("srv", server.WithTransport(network.Server), server.WithLogger(quietLog()), server.WithRoles(server.RoleRegistry), server.WithStore(store)))
		watcher := rawOver(t, network, "srv").hello()
		watcher.send(frame{4, "1", `{"optype":1,"method":"m"}`})
		watcher.expectNot(18)
		provider := rawOver(t, network, "srv").hello()
		release := store.hold()
		provider.send(
			frame{4, "1", `{"optype":0,"method":"m","host":{"ip":"h","port":1},"instance":"i"}`},
			frame{20, "bye", `{"rcode":0}`},
		)
		provider.Close()
		synctest.Wait()
		release()
		assert.Equal(t, 2.0, watcher.expectNot(18).field("optype"))
		gone := watcher.expectNot(18)
		assert.Equal(t, 3.0, gone.field("optype"))
		assert.Equal(t, "left", gone.field("reason"), "as its end says, not as a stray is removed")
	})
}

func TestRequestsThatWaitForTheStoreAreBounded(t *testing.T) {
	store := &waitingStore{Store: memstore.New()}
	defer store.Close()
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithStore(store)))
	r := dialRaw(t, b.Addr())
	defer store.hold()()
	const many = 17_000
	frames := make([]frame, many)
	for i := range frames {
		frames[i] = frame{2, strconv.Itoa(i), fmt.Sprintf(`{"optype":0,"topic_key":"t%d"}`, i)}
	}
	r.send(frames...)
	refused := r.expect()
	assert.Contains(t, refused.body, `"rcode":`)
}

func TestRegistrationThatTakesEffectAfterItsConnectionIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &waitingStore{Store: memstore.New(), after: make(chan struct{})}
		defer store.Close()
		s := start(t, server.WithStore(store))
		defer s.stop()
		conn, _ := s.dial()
		release := store.hold()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := client.NewRegistryClient(conn).Register(ctx, abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: 1}})
		require.Error(t, err)
		require.NoError(t, conn.Close())
		time.Sleep(10 * time.Second) // the broker has given up too
		release()
		close(store.after)
		synctest.Wait()
		kvs, _, err := store.Range(t.Context(), "/services/", 0)
		require.NoError(t, err)
		assert.Empty(t, kvs)
	})
}

func TestShutdownKeepsToItsContextWhileTheStoreIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &waitingStore{Store: memstore.New()}
		defer store.Close()
		s := start(t, server.WithStore(store))
		conn, nodes := s.dial()
		release := store.hold()
		go nodes.Create(t.Context(), "/a", nil)
		synctest.Wait()
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		assert.NoError(t, s.broker.Shutdown(ctx))
		assert.LessOrEqual(t, time.Since(begun), 2*time.Second)
		release()
		<-s.ended
		conn.Close()
	})
}
