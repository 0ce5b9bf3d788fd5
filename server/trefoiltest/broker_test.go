package trefoiltest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil"
	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/memstore"
	"trefoil/server"
	"trefoil/server/trefoiltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inBothTimes runs a test in a bubble and outside.
func inBothTimes(t *testing.T, test func(t *testing.T)) {
	t.Run("virtual time", func(t *testing.T) { synctest.Test(t, test) })
	t.Run("real time", test)
}

// hears subscribes and returns what comes.
func hears(t *testing.T, topics *client.TopicClient, topic string) <-chan string {
	t.Helper()
	got := make(chan string, 1000)
	_, err := topics.Subscribe(t.Context(), topic, func(m client.Message) {
		var text string
		_ = m.Decode(&text)
		got <- text
	})
	require.NoError(t, err)
	return got
}

func TestAllPartsWorkTogether(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		provider := broker.Provide(t)
		require.NoError(t, server.Handle(provider, "greet", greet))
		c := broker.Dial(t)
		require.NoError(t, c.Rpc().Call(t.Context(), "greet", GreetArgs{"a"}, nil))
		first := c.Rpc()
		assert.Same(t, first, c.Rpc())
		require.NoError(t, c.Topics().Create(t.Context(), "news"))
		got := hears(t, c.Topics(), "news")
		require.NoError(t, c.Topics().Publish(t.Context(), "news", "m"))
		assert.Equal(t, "m", <-got)
		_, err := c.Nodes().Create(t.Context(), "/a", []byte("x"))
		require.NoError(t, err)
		list, err := c.Discovery().Discover(t.Context(), "greet")
		require.NoError(t, err)
		assert.Equal(t, provider.Addr().String(), list[0].Host.String())
	})
}

func TestProgramsJoinTheNetwork(t *testing.T) {
	broker := trefoiltest.New(t)
	network := broker.Network()
	require.NoError(t, server.Handle(broker.Server(), "greet", greet))
	conn, err := client.Dial(t.Context(), broker.Addr(), client.WithTransport(network.Client))
	require.NoError(t, err)
	defer conn.Close()
	calls := client.NewDirectRpcClient(conn)
	defer calls.Close()
	require.NoError(t, calls.Call(t.Context(), "greet", GreetArgs{"a"}, nil))
}

func TestRestartLosesWhatWasInMemory(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		nodes := broker.Dial(t).Nodes()
		_, err := nodes.Create(t.Context(), "/a", nil)
		require.NoError(t, err)
		broker.Restart()
		ok, err := nodes.Exists(t.Context(), "/a")
		require.NoError(t, err)
		assert.False(t, ok)
	})
}

func TestRestartKeepsWhatTheStoreHas(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	broker := trefoiltest.New(t, server.WithStore(store))
	nodes := broker.Dial(t).Nodes()
	_, err := nodes.Create(t.Context(), "/a", nil)
	require.NoError(t, err)
	broker.Restart()
	ok, err := nodes.Exists(t.Context(), "/a")
	require.NoError(t, err)
	assert.True(t, ok)
}

// A broker that is away stops no calls, and nobody hears of an OFFLINE.
func TestCallsGoOnWhileTheBrokerIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		require.NoError(t, server.Handle(broker.Provide(t), "greet", greet))
		c := broker.Dial(t)
		require.NoError(t, c.Rpc().Call(t.Context(), "greet", GreetArgs{"a"}, nil))
		offline := 0
		c.Discovery().OnOffline(func(abstract.Provider) { offline++ })

		broker.Stop()
		assert.Nil(t, broker.Server())
		time.Sleep(10 * time.Minute)
		require.NoError(t, c.Rpc().Call(t.Context(), "greet", GreetArgs{"a"}, nil))
		assert.ErrorIs(t, c.Topics().Publish(t.Context(), "news", "m"), abstract.ErrUnavailable)
		broker.Start()
		broker.Settle()
		synctest.Wait()
		assert.Zero(t, offline)
	})
}

func TestOpenWaitsForTheBroker(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		broker.Stop()
		c := broker.Open(t)
		created := make(chan error, 1)
		go func() { created <- c.Topics().Create(t.Context(), "news") }()
		broker.Start()
		require.NoError(t, <-created)
	})
}

func TestCutIsOfOneClient(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		lost, other := make(chan error, 1), make(chan error, 1)
		a := broker.Dial(t, client.OnDisconnected(func(err error) { lost <- err }))
		b := broker.Dial(t, client.OnDisconnected(func(err error) { other <- err }))
		require.NoError(t, b.Topics().Create(t.Context(), "news"))
		got := hears(t, a.Topics(), "news")

		a.Cut()
		require.Error(t, <-lost)
		broker.Settle()
		require.NoError(t, b.Topics().Publish(t.Context(), "news", "m"))
		assert.Equal(t, "m", <-got, "the subscription is back")
		assert.Empty(t, other)
		broker.Cut()
		require.Error(t, <-lost)
		require.Error(t, <-other)
	})
}

// Of a connection that is half open both sides take leave by themselves, and a
// provider that is back before that takes its own place.
func TestHalfOpenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		provider := broker.Provide(t)
		require.NoError(t, server.Handle(provider, "greet", greet))
		c := broker.Dial(t)
		require.NoError(t, c.Rpc().Call(t.Context(), "greet", GreetArgs{"a"}, nil))
		lost := make(chan time.Duration, 1)
		begun := time.Now()
		d := broker.Dial(t, client.OnDisconnected(func(error) { lost <- time.Since(begun) }))

		provider.HalfOpen()
		d.HalfOpen()
		after := <-lost
		assert.Greater(t, after, 5*time.Second, "only missed pings say so")
		assert.Less(t, after, 15*time.Second)
		broker.Settle()
		synctest.Wait() // the caller has heard that the provider is back
		require.NoError(t, c.Rpc().Call(t.Context(), "greet", GreetArgs{"a"}, nil))
	})
}

func TestStalledSubscriberHoldsUpNobodyAndHearsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		c, slow, fast := broker.Dial(t), broker.Dial(t), broker.Dial(t)
		require.NoError(t, c.Topics().Create(t.Context(), "news"))
		late, soon := hears(t, slow.Topics(), "news"), hears(t, fast.Topics(), "news")
		slow.Stall()
		for i := range 100 {
			require.NoError(t, c.Topics().Publish(t.Context(), "news", fmt.Sprint(i)))
		}
		synctest.Wait()
		assert.Len(t, soon, 100)
		assert.Empty(t, late)
		slow.Heal()
		synctest.Wait()
		assert.Len(t, late, 100)
	})
}

func TestStalledForTooLongIsTakenForDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		provider := broker.Provide(t)
		require.NoError(t, server.Handle(provider, "greet", greet))
		provider.Stall()
		time.Sleep(time.Minute)
		discovery := broker.Dial(t).Discovery()
		list, err := discovery.Discover(t.Context(), "greet")
		require.NoError(t, err)
		require.Empty(t, list)
		provider.Heal()
		broker.Settle()
		list, err = discovery.Discover(t.Context(), "greet")
		require.NoError(t, err)
		assert.Len(t, list, 1)
	})
}

func TestKilledClientSaysNoGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		killed, closed, watcher := broker.Dial(t), broker.Dial(t), broker.Dial(t)
		for name, c := range map[string]*trefoiltest.Client{"/killed": killed, "/closed": closed} {
			_, err := c.Nodes().Create(t.Context(), name, nil, client.SessionNode())
			require.NoError(t, err)
		}
		killed.Kill()
		require.NoError(t, closed.Close())
		synctest.Wait()
		nodes, err := watcher.Nodes().List(t.Context(), "/")
		require.NoError(t, err)
		require.Len(t, nodes, 1)
		assert.Equal(t, "/killed", nodes[0].Path)
		broker.Settle() // those who are gone are not waited for
	})
}

func TestShutdownTakesLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		provider := broker.Provide(t)
		require.NoError(t, server.Handle(provider, "greet", greet))
		list, err := broker.Dial(t).Discovery().Discover(t.Context(), "greet")
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.NoError(t, provider.Shutdown(t.Context()))
		list, err = broker.Dial(t).Discovery().Discover(t.Context(), "greet")
		require.NoError(t, err)
		assert.Empty(t, list)
	})
}

// The broker looks for providers over the network of the test.
func TestHealthChecksReachProviders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := trefoiltest.New(t, server.WithDialBack(time.Second), server.WithHealthChecks(server.HealthChecks{Interval: time.Minute}))
		provider := broker.Provide(t)
		require.NoError(t, server.Handle(provider, "greet", greet))
		existing := abstract.Provider{Method: "greet", Host: abstract.Host{IP: "nowhere", Port: 1}} // speaks no HELLO
		assert.ErrorIs(t, broker.Dial(t).Registry().Register(t.Context(), existing), abstract.ErrUnavailable)

		discovery := broker.Dial(t).Discovery()
		state := func() abstract.ProviderState {
			list, err := discovery.Discover(t.Context(), "greet")
			require.NoError(t, err)
			require.Len(t, list, 1)
			return list[0].State
		}
		time.Sleep(5 * time.Minute)
		assert.Equal(t, abstract.Up, state())
		provider.Refuse()
		time.Sleep(5 * time.Minute)
		assert.Equal(t, abstract.Unhealthy, state())
	})
}

// fakeTest is a test that fails without failing the real one.
type fakeTest struct {
	testing.TB
	mu    sync.Mutex
	lines []string
}

func (f *fakeTest) say(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, line)
}

func (f *fakeTest) Fatal(args ...any)                 { f.say(fmt.Sprint(args...)); runtime.Goexit() }
func (f *fakeTest) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }
func (f *fakeTest) Errorf(format string, args ...any) { f.say(fmt.Sprintf(format, args...)) }
func (f *fakeTest) Logf(format string, args ...any)   { f.say(fmt.Sprintf(format, args...)) }

func TestFailuresSayWhatToDo(t *testing.T) {
	tests := []struct {
		name string
		do   func(t testing.TB, broker *trefoiltest.Broker)
		want string
	}{
		{"stop twice", func(_ testing.TB, b *trefoiltest.Broker) { b.Stop(); b.Stop() }, "the broker is stopped already; call Start before"},
		{"start twice", func(_ testing.TB, b *trefoiltest.Broker) { b.Start() }, "the broker runs already; call Stop before Start"},
		{"dial a stopped broker", func(t testing.TB, b *trefoiltest.Broker) { b.Stop(); b.Dial(t) }, "a client does not reach the broker: connect to broker"},
		{"provide at a stopped broker", func(t testing.TB, b *trefoiltest.Broker) { b.Stop(); b.Provide(t) }, "host-1:9000 does not reach the broker"},
		{"settle without a broker", func(_ testing.TB, b *trefoiltest.Broker) { b.Stop(); b.Settle() }, "nobody can settle while the broker is stopped"},
		{"settle without a client", func(t testing.TB, b *trefoiltest.Broker) { b.Dial(t).Vanish(); b.Settle() }, "a client does not come back to the broker"},
		{"settle with a closed connection", func(t testing.TB, b *trefoiltest.Broker) { b.Dial(t).Conn.Close(); b.Settle() }, "does not come back"},
		{"settle without a topic's creator", func(t testing.TB, b *trefoiltest.Broker) {
			creator, reader := b.Dial(t), b.Dial(t)
			_ = creator.Topics().Create(context.Background(), "news")
			_, _ = reader.Topics().Subscribe(context.Background(), "news", nil)
			_ = creator.Close()
			b.Restart()
			b.Settle()
		}, "a client does not come back to the broker: subscribe news: topic not found"},
		{"a handler that never ends", func(t testing.TB, b *trefoiltest.Broker) {
			p := b.Provide(t)
			over := make(chan struct{})
			t.Cleanup(func() { close(over) })
			_ = server.Handle(p, "hang", func(context.Context, struct{}) (int, error) { <-over; return 0, nil })
			b.Rpc(t).CallFuture(context.Background(), "hang", nil)
			synctest.Wait()
			p.Kill()
		}, "provider host-1:9000 does not end: context deadline exceeded; does a handler not heed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := &fakeTest{TB: t}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					tt.do(fake, trefoiltest.New(fake))
				}()
				<-ended
				require.NotEmpty(t, fake.lines)
				said := strings.Join(fake.lines, "\n")
				assert.Contains(t, said, "trefoiltest: ")
				assert.Contains(t, said, tt.want)
			})
		})
	}
}

// Warnings of the broker stand in the log of the test; what comes after its end is
// dropped, and a logger of the user's own takes its place.
func TestWarningsGoToTheTestsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeTest{TB: t}
		broker := trefoiltest.New(fake)
		require.NoError(t, server.Handle(broker.Provide(fake), "fail", func(context.Context, struct{}) (int, error) { return 0, errors.New("the disk is full") }))
		assert.ErrorIs(t, broker.Rpc(t).Call(t.Context(), "fail", nil, nil), abstract.ErrInternal)
		said := strings.Join(fake.lines, "\n")
		assert.Contains(t, said, "the disk is full")
		assert.NotContains(t, said, "level=INFO")
	})
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeTest{TB: t}
		broker := trefoiltest.New(fake)
		p := broker.Provide(fake, server.WithLogger(slog.New(slog.DiscardHandler)))
		require.NoError(t, server.Handle(p, "fail", func(context.Context, struct{}) (int, error) { return 0, errors.New("the disk is full") }))
		assert.ErrorIs(t, broker.Rpc(t).Call(t.Context(), "fail", nil, nil), abstract.ErrInternal)
		assert.Empty(t, fake.lines)
	})
}

func TestStreamsEndWithTheirProvider(t *testing.T) {
	inBothTimes(t, func(t *testing.T) {
		broker := trefoiltest.New(t)
		provider := broker.Provide(t)
		count := trefoil.NewServerStream[GreetArgs, int]("count")
		ended := make(chan error, 1)
		require.NoError(t, count.Handle(provider, func(ctx context.Context, _ GreetArgs, send func(int) error) error {
			for n := 0; ; n++ {
				if err := send(n); err != nil {
					ended <- err
					return err
				}
			}
		}))
		var last error
		for n, err := range count.Call(t.Context(), broker.Rpc(t), GreetArgs{}) {
			if n == 10_000 {
				provider.Kill()
			}
			last = err
		}
		require.ErrorIs(t, last, abstract.ErrDisconnected)
		require.Error(t, <-ended)
	})
}
