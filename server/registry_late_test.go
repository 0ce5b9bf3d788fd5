package server_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/business/registry"
	"trefoil/concrete/mem"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
	"trefoil/server"
)

// lateStore is a store of which answers may be lost: what it was asked for may take effect
// later, or never. All of it is as the test says.
type lateStore struct {
	*memstore.Store
	mu   sync.Mutex
	lose int            // of so many from now on nobody hears
	fail int            // so many from now on fail, and that is certain
	late []abstract.Txn // of which nobody has heard
	held chan struct{}  // unless nil: what comes waits until this is closed
}

func newLateStore(t *testing.T) *lateStore {
	s := &lateStore{Store: memstore.New()}
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func (s *lateStore) Instant() bool { return false }

func (s *lateStore) Txn(ctx context.Context, txn abstract.Txn) (abstract.TxnResult, error) {
	unheard := &abstract.Error{Code: abstract.UnknownFate, Op: "txn", Err: errors.New("no answer")}
	s.mu.Lock()
	held := s.held
	switch {
	case s.fail > 0:
		s.fail--
		s.mu.Unlock()
		return abstract.TxnResult{}, abstract.Errorf(abstract.Unavailable, "not now")
	case s.lose > 0:
		s.lose--
		s.late = append(s.late, txn)
		s.mu.Unlock()
		return abstract.TxnResult{}, unheard
	}
	s.mu.Unlock()
	if held != nil {
		<-held
	}
	return s.Store.Txn(ctx, txn)
}

// loses makes the store lose the answers to so many transactions from now on.
func (s *lateStore) loses(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = n
}

func (s *lateStore) fails(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = n
}

// hold lets what comes from now on wait, until release is called.
func (s *lateStore) hold() (release func()) {
	held := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
	return func() {
		s.mu.Lock()
		s.held = nil
		s.mu.Unlock()
		close(held)
	}
}

// comesThrough lets everything take effect of which nobody has heard.
func (s *lateStore) comesThrough(t *testing.T) {
	s.mu.Lock()
	late := s.late
	s.late = nil
	s.mu.Unlock()
	require.NotEmpty(t, late, "an answer was lost")
	for _, txn := range late {
		_, err := s.Store.Txn(context.Background(), txn)
		require.NoError(t, err)
	}
	synctest.Wait()
}

// values are those of the providers in the store.
func (s *lateStore) values(t *testing.T) (all []string) {
	kvs, _, err := s.Range(t.Context(), registry.Prefix, 0)
	require.NoError(t, err)
	for _, kv := range kvs {
		all = append(all, string(kv.Value))
	}
	return all
}

// lateWorld is a registry on a lateStore.
type lateWorld struct {
	*testing.T
	store    *lateStore
	network  *mem.Network
	provider *raw
}

// late runs a test over a registry on a lateStore, in a bubble.
func late(t *testing.T, test func(w *lateWorld), opts ...server.Option) {
	synctest.Test(t, func(t *testing.T) {
		w := &lateWorld{T: t, store: newLateStore(t), network: mem.NewNetwork()}
		serve(t, server.NewBroker("srv", append([]server.Option{
			server.WithTransport(w.network.Server), server.WithLogger(quietLog()), server.WithRoles(server.RoleRegistry), server.WithStore(w.store),
			server.WithPing(time.Minute, 5),
		}, opts...)...))
		w.provider = w.dial()
		test(w)
	})
}

func (w *lateWorld) dial() *raw { return rawOver(w.T, w.network, "srv").hello() }

// ask sends a request of the provider's about a method, and returns the answer's rcode.
func (w *lateWorld) ask(op int, method, more string) int {
	w.Helper()
	w.provider.send(request(op, method, more))
	return w.provider.expectNot(18).rcode()
}

func request(op int, method, more string) frame {
	return frame{4, "1", sprintf(`{"optype":%d,"method":%q,"host":{"ip":"h","port":1},"instance":"i"%s}`, op, method, more)}
}

const (
	opRegister, opUnregister, opHeartbeat = 0, 3, 16

	plain   = `{"ip":"h","port":1,"instance":"i","hello":true}`
	heavier = `{"ip":"h","port":1,"instance":"i","weight":7,"hello":true}`
)

func TestLateUnregisterDoesNotUndoWhatCameAfterIt(t *testing.T) {
	late(t, func(w *lateWorld) {
		require.Equal(t, 0, w.ask(opRegister, "m", ""))
		w.store.loses(1)
		require.Equal(t, int(abstract.UnknownFate), w.ask(opUnregister, "m", ""))
		require.Equal(t, 0, w.ask(opRegister, "m", ""))
		w.store.comesThrough(t)
		time.Sleep(time.Minute)
		assert.Equal(t, []string{plain}, w.store.values(t))
	})
}

func TestUnregisterThatFailsIsGoneOnWith(t *testing.T) {
	for name, goes := range map[string]func(*lateWorld){
		"and nobody knows whether it has": func(w *lateWorld) { w.store.loses(1) },
		"for certain":                     func(w *lateWorld) { w.store.fails(1) },
		"again and again":                 func(w *lateWorld) { w.store.fails(5) },
	} {
		t.Run(name, func(t *testing.T) {
			late(t, func(w *lateWorld) {
				require.Equal(t, 0, w.ask(opRegister, "m", ""))
				goes(w)
				require.NotEqual(t, 0, w.ask(opUnregister, "m", ""))
				assert.Equal(t, []string{plain}, w.store.values(t))
				time.Sleep(time.Minute)
				assert.Empty(t, w.store.values(t))
			})
		})
	}
}

func TestLateRegistrationIsTakenBack(t *testing.T) {
	for name, then := range map[string]func(*lateWorld){
		"when it was given up":     func(*lateWorld) {},
		"when it was unregistered": func(w *lateWorld) { require.Equal(w, 0, w.ask(opUnregister, "m", "")) },
		"when it had come and gone before": func(w *lateWorld) {
			require.Equal(w, 0, w.ask(opRegister, "m", ""))
			require.Equal(w, 0, w.ask(opUnregister, "m", ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			late(t, func(w *lateWorld) {
				w.store.loses(1)
				require.Equal(t, int(abstract.UnknownFate), w.ask(opRegister, "m", ""))
				then(w)
				w.store.comesThrough(t)
				assert.Empty(t, w.store.values(t))
				assert.Equal(t, 0, w.ask(opRegister, "m", ""), "it may come")
				time.Sleep(time.Minute)
				assert.Equal(t, []string{plain}, w.store.values(t))
			})
		})
	}
}

func TestLateChangeOfARegistrationIsTakenBack(t *testing.T) {
	late(t, func(w *lateWorld) {
		require.Equal(t, 0, w.ask(opRegister, "m", ""))
		w.store.loses(1)
		require.Equal(t, int(abstract.UnknownFate), w.ask(opRegister, "m", `,"weight":7`))
		w.store.comesThrough(t)
		assert.Equal(t, []string{plain}, w.store.values(t), "what was answered stands")

		w.store.loses(1)
		require.Equal(t, int(abstract.UnknownFate), w.ask(opRegister, "m", ""))
		require.Equal(t, 0, w.ask(opRegister, "m", `,"weight":7`))
		w.store.comesThrough(t)
		time.Sleep(time.Minute)
		assert.Equal(t, []string{heavier}, w.store.values(t))
	})
}

// TestLateRegistrationOfAConnectionThatIsEnding lets a registration take effect while what
// is known of its connection is being removed.
func TestLateRegistrationOfAConnectionThatIsEnding(t *testing.T) {
	late(t, func(w *lateWorld) {
		require.Equal(t, 0, w.ask(opRegister, "known", ""))
		w.store.loses(1)
		require.Equal(t, int(abstract.UnknownFate), w.ask(opRegister, "late", ""))
		release := w.store.hold()
		require.NoError(t, w.provider.Close())
		synctest.Wait() // the end is planned, and the store has not taken it
		w.store.comesThrough(t)
		release()
		time.Sleep(time.Minute)
		assert.Empty(t, w.store.values(t))
	})
}

func TestRenewalIsNotUndoneByAnEndThatIsTriedAgain(t *testing.T) {
	late(t, func(w *lateWorld) {
		require.Equal(t, 0, w.ask(opRegister, "m", `,"ttl_ms":1000`))
		w.store.fails(1)
		time.Sleep(5900 * time.Millisecond) // its time is over, the store has refused its end, which is about to be tried again
		require.Equal(t, []string{plain}, w.store.values(t))
		release := w.store.hold()
		w.provider.send(request(opRegister, "m", `,"ttl_ms":60000,"weight":7`))
		time.Sleep(time.Second) // it is on its way when the end is tried again
		release()
		require.Equal(t, 0, w.provider.expectNot(18).rcode())
		time.Sleep(20 * time.Second)
		assert.Equal(t, []string{heavier}, w.store.values(t))
		assert.Equal(t, 0, w.ask(opHeartbeat, "m", ""))
	})
}

func TestLateEndDoesNotUndoARenewal(t *testing.T) {
	late(t, func(w *lateWorld) {
		require.Equal(t, 0, w.ask(opRegister, "m", `,"ttl_ms":1000`))
		w.store.loses(1)
		time.Sleep(1500 * time.Millisecond)
		require.Equal(t, int(abstract.NotFound), w.ask(opHeartbeat, "m", ""))
		require.Equal(t, 0, w.ask(opRegister, "m", `,"ttl_ms":60000`))
		w.store.comesThrough(t)
		time.Sleep(20 * time.Second)
		assert.Equal(t, []string{plain}, w.store.values(t))
		assert.Equal(t, 0, w.ask(opHeartbeat, "m", ""))
	})
}

func TestEndThatTheStoreDoesNotTakeHoldsUpNothing(t *testing.T) {
	late(t, func(w *lateWorld) {
		for _, method := range []string{"a", "b", "c"} {
			require.Equal(t, 0, w.ask(opRegister, method, `,"ttl_ms":1000,"weight":7`))
			require.Equal(t, 0, w.ask(opRegister, method+"2", `,"ttl_ms":1000`))
		}
		w.store.fails(1)
		time.Sleep(time.Minute)
		assert.Empty(t, w.store.values(t))
	})
}

// TestLateRegistrationOfAnEarlierRun takes effect when all that the run has left is
// removed already.
func TestLateRegistrationOfAnEarlierRun(t *testing.T) {
	late(t, func(w *lateWorld) {
		time.Sleep(10 * time.Second)
		old := registry.NewPDManager(registry.Config{Broker: "old"})
		txn, err := old.PlanRegister(1, message.ProviderHost{Host: abstract.Host{IP: "h", Port: 1}}, "m")
		require.NoError(t, err)
		_, err = w.store.Store.Txn(t.Context(), txn)
		require.NoError(t, err)
		require.Len(t, w.store.values(t), 1)
		synctest.Wait()
		assert.Empty(t, w.store.values(t))
	}, server.WithRestartGrace(time.Second))
}

// TestLateRegistrationOfAConnectionThatIsKept shares the fate of what was known in time.
func TestLateRegistrationOfAConnectionThatIsKept(t *testing.T) {
	late(t, func(w *lateWorld) {
		providers := make([]*raw, 25)
		for i := range providers {
			providers[i] = w.dial()
			providers[i].send(request(opRegister, sprintf("m%d", i), ""))
			require.Equal(t, 0, providers[i].expectNot(18).rcode())
		}
		last := providers[24]
		w.store.loses(1)
		last.send(request(opRegister, "late", ""))
		require.Equal(t, int(abstract.UnknownFate), last.expectNot(18).rcode())
		for _, p := range providers {
			require.NoError(t, p.Close())
			synctest.Wait()
		}
		kept := len(w.store.values(t))
		require.Less(t, kept, 25, "some are believed to be gone")
		require.NotZero(t, kept, "the last are kept")
		w.store.comesThrough(t)
		assert.Len(t, w.store.values(t), kept+1)
		time.Sleep(2 * time.Minute)
		assert.Empty(t, w.store.values(t), "nobody has come back")
	})
}

// TestRegistrationsInDoubtAreBounded: each of them is remembered.
func TestRegistrationsInDoubtAreBounded(t *testing.T) {
	late(t, func(w *lateWorld) {
		w.store.loses(9)
		for batch := range 9 {
			methods := make([]string, 127)
			for i := range methods {
				methods[i] = sprintf(`"%d.%d"`, batch, i)
			}
			more := `,"methods":[` + strings.Join(methods, ",") + `]`
			want := int(abstract.UnknownFate)
			if batch == 8 {
				want = int(abstract.Overloaded)
			}
			require.Equal(t, want, w.ask(opRegister, sprintf("%d", batch), more), "%d", batch)
		}
	})
}
