package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// hidden is a provider whose address nobody can connect to.
type hidden struct {
	*running
	began  chan struct{} // a hang has begun
	causes chan error    // why the contexts of hangs have ended
}

func (w *world) hidden(name string, reg abstract.Registrar, opts ...server.Option) *hidden {
	w.Helper()
	at, err := abstract.ParseHost(name)
	require.NoError(w, err)
	h := &hidden{began: make(chan struct{}, 10_000), causes: make(chan error, 10_000)}
	srv := server.NewRpcServer("inside-"+name, append([]server.Option{
		server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithRegistry(reg), server.WithAdvertise(at),
	}, opts...)...)
	require.NoError(w, server.Handle(srv, "sum", func(_ context.Context, in sumArgs) (int, error) { return in.A + in.B, nil }))
	require.NoError(w, server.Handle(srv, "who", func(context.Context, struct{}) (string, error) { return name, nil }))
	require.NoError(w, server.Handle(srv, "hang", func(ctx context.Context, _ struct{}) (string, error) {
		h.began <- struct{}{}
		<-ctx.Done()
		h.causes <- context.Cause(ctx)
		return "", ctx.Err()
	}))
	require.NoError(w, server.Handle(srv, "slow", func(ctx context.Context, _ struct{}) (string, error) {
		h.began <- struct{}{}
		select {
		case <-time.After(time.Second):
			return "done", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}))
	faults(w, srv)
	h.running = w.run(srv)
	synctest.Wait()
	return h
}

// faults are methods that fail, each in a way of its own, and results that are not usual.
func faults(w *world, srv *server.RpcServer) {
	fail := func(name string, err error) {
		require.NoError(w, server.Handle(srv, name, func(context.Context, struct{}) (any, error) { return nil, err }))
	}
	fail("fail.details", &abstract.Error{Code: abstract.Denied, Message: "not you", Details: []byte(`{"need":"more"}`)})
	fail("fail.text", abstract.Errorf(abstract.Exists, "it is there: %q\n", "\u2028 <ü>"))
	fail("fail.own", &abstract.Error{Code: 1234, Message: "a code of its own"})
	fail("fail.stranger", errors.New("a secret"))
	fail("fail.params", abstract.Errorf(abstract.InvalidParams, "no"))
	fail("fail.overloaded", &abstract.Error{Code: abstract.Overloaded, Message: "later", Details: []byte(`{"retry_after_ms":1}`)})
	fail("fail.disconnected", abstract.Errorf(abstract.Disconnected, "its own doing"))
	require.NoError(w, server.Handle(srv, "fail.panic", func(context.Context, struct{}) (int, error) { panic("boom") }))
	require.NoError(w, server.Handle(srv, "nothing", func(context.Context, struct{}) (any, error) { return nil, nil }))
	require.NoError(w, server.Handle(srv, "text", func(context.Context, struct{}) (string, error) { return "a\u2028\"ü\x00", nil }))
	require.NoError(w, server.Handle(srv, "large", func(context.Context, struct{}) (string, error) { return strings.Repeat("x", 3<<20), nil }))
	require.NoError(w, server.Handle(srv, "huge", func(context.Context, struct{}) (string, error) { return strings.Repeat("x", 9<<20), nil }))
}

func TestProviderBehindAClosedDoorIsCalledThroughTheBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		w.hidden(host(1), client.NewRegistryClient(w.dial()))
		begun := time.Now()
		first, err := w.rpc(client.NewDiscoveryClient(w.dial())).CallReply(ctx, "who", nil)
		require.NoError(w, err)
		assert.Equal(w, 2, first.Attempts, "directly, and at once through the broker")
		assert.Zero(w, time.Since(begun))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				for k := range 20 {
					r, err := rpc.CallReply(ctx, "sum", sumArgs{i, k})
					require.NoError(w, err)
					assert.True(w, r.Relayed)
					assert.Equal(w, fmt.Sprint(i+k), string(r.Raw))
					assert.Equal(w, host(1), r.Instance)
				}
			})
		}
		all.Wait()
		begun = time.Now()
		for range 10 { // known by now: nobody tries to connect
			r, err := rpc.CallReply(ctx, "who", nil)
			require.NoError(w, err)
			assert.True(w, r.Relayed)
			assert.Equal(w, 1, r.Attempts)
		}
		assert.Zero(w, time.Since(begun))
	})
}

func TestDoorThatOpensIsUsedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		reg := client.NewRegistryClient(w.dial())
		w.hidden(host(1), reg, server.WithInstance("one"))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		r, err := rpc.CallReply(ctx, "who", nil)
		require.NoError(w, err)
		require.True(w, r.Relayed)
		opened := server.NewRpcServer(host(1), server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithInstance("one"))
		require.NoError(w, server.Handle(opened, "who", func(context.Context, struct{}) (string, error) { return "by the door", nil }))
		w.run(opened)
		time.Sleep(29 * time.Second)
		r, err = rpc.CallReply(ctx, "who", nil)
		require.NoError(w, err)
		assert.True(w, r.Relayed, "for half a minute")
		time.Sleep(2 * time.Second)
		r, err = rpc.CallReply(ctx, "who", nil)
		require.NoError(w, err)
		assert.False(w, r.Relayed)
		assert.Equal(w, `"by the door"`, string(r.Raw))
	})
}

func TestCallsGoDirectlyWhereTheyCan(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		w.provider(host(1), client.NewRegistryClient(w.dial()))
		w.hidden(host(2), client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		for range 50 {
			r, err := rpc.CallReply(ctx, "who", nil)
			require.NoError(w, err)
			assert.False(w, r.Relayed)
			assert.Equal(w, host(1), r.Instance)
		}
	})
}

func TestRelayNeverOnlyCallsDirectly(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		w.hidden(host(1), client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithRelay(client.RelayNever))
		err := rpc.Call(ctx, "who", nil, nil)
		require.ErrorIs(w, err, abstract.ErrUnavailable)
		assert.Equal(w, abstract.SentNo, sentOf(w, err))
	})
}

func TestRelayAlwaysOpensNoConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		for i := range 3 {
			w.provider(host(i), client.NewRegistryClient(w.dial()))
		}
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithRelay(client.RelayAlways))
		seen := map[string]bool{}
		for range 60 {
			var who string
			r, err := rpc.CallReply(ctx, "who", nil)
			require.NoError(w, err)
			require.NoError(w, r.Decode(&who))
			assert.True(w, r.Relayed)
			assert.Equal(w, who, r.Instance)
			seen[who] = true
		}
		assert.Len(w, seen, 3)
		for _, s := range rpc.Instances("who") {
			assert.False(w, s.Connected)
		}
	})
}

func TestOneCallCanGoThroughTheBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		w.provider(host(1), client.NewRegistryClient(w.dial()))
		conn := w.dial()
		rpc := w.rpc(client.NewDiscoveryClient(conn))
		for i := range 6 {
			var opts []client.CallOption
			if i%2 == 1 {
				opts = append(opts, client.Relay())
			}
			r, err := rpc.CallReply(ctx, "who", nil, opts...)
			require.NoError(w, err)
			assert.Equal(w, i%2 == 1, r.Relayed)
		}
		t.Run("the broker chooses", func(*testing.T) {
			direct := client.NewDirectRpcClient(conn)
			defer direct.Close()
			r, err := direct.CallReply(ctx, "who", nil, client.Relay())
			require.NoError(w, err)
			assert.True(w, r.Relayed)
			assert.ErrorIs(w, direct.Call(ctx, "who", nil, nil), abstract.ErrMethodNotFound, "not asked to")
		})
	})
}

// TestErrorsThroughTheBrokerAreThoseOfADirectCall in every respect but the way.
func TestErrorsThroughTheBrokerAreThoseOfADirectCall(t *testing.T) {
	type told struct {
		code     abstract.RCode
		message  string
		details  string
		result   string
		instance string
		fromPeer bool
		sent     abstract.Sent
	}
	outcome := func(r client.Reply, err error) told {
		var e *abstract.Error
		if errors.As(err, &e) {
			return told{e.Code, e.Message, string(e.Details), "", e.Instance, e.FromPeer, e.Sent}
		}
		return told{result: string(r.Raw), instance: r.Instance}
	}
	inWorld(t, func(w *world) {
		w.broker()
		srv := server.NewRpcServer(host(1), server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithRegistry(client.NewRegistryClient(w.dial())))
		faults(w, srv)
		require.NoError(w, server.Handle(srv, "sum", func(_ context.Context, in sumArgs) (int, error) { return in.A + in.B, nil }))
		w.run(srv)
		synctest.Wait()
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		call := func(method string, params any, opts ...client.CallOption) told {
			return outcome(rpc.CallReply(ctx, method, params, append(opts, client.NoRetry())...))
		}
		for _, method := range srv.Methods() {
			for name, params := range map[string]any{"none": nil, "wrong": map[string]any{"a": "x"}} {
				direct, relayed := call(method, params), call(method, params, client.Relay())
				assert.Equal(w, direct, relayed, "%s with parameters: %s", method, name)
				if strings.HasPrefix(method, "fail.") {
					assert.NotZero(w, relayed.code, method)
				}
			}
		}
		assert.Equal(w, abstract.ServiceNotFound, call("nobody.does", nil, client.Relay()).code)
		tooLong := map[string]string{"a": strings.Repeat("x", 9<<20)}
		direct, relayed := call("sum", tooLong), call("sum", tooLong, client.Relay())
		assert.Equal(w, abstract.TooLarge, direct.code)
		assert.Equal(w, direct.code, relayed.code)
		assert.Equal(w, abstract.SentNo, relayed.sent)
	})
}

// What the provider takes is not what the broker takes.
func TestFrameThatTheProviderDoesNotTakeIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		w.hidden(host(1), client.NewRegistryClient(w.dial(client.WithMaxFrame(10_000))))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		err := rpc.Call(ctx, "sum", map[string]string{"a": strings.Repeat("x", 20_000)}, nil)
		require.ErrorIs(w, err, abstract.ErrTooLarge)
		var e *abstract.Error
		require.ErrorAs(w, err, &e)
		assert.Equal(w, abstract.SentNo, e.Sent)
		assert.Contains(w, string(e.Details), `"limit":10000`)
		require.NoError(w, rpc.Call(ctx, "sum", sumArgs{1, 2}, nil))
	})
}

func TestCancelAndDeadlineReachAHandlerThroughTheBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		h := w.hidden(host(1), client.NewRegistryClient(w.dial()))
		conn := w.dial()
		rpc := w.rpc(client.NewDiscoveryClient(conn))
		f := rpc.CallFuture(ctx, "hang", nil, client.Timeout(time.Hour))
		<-h.began
		begun := time.Now()
		f.Cancel()
		require.ErrorIs(w, <-h.causes, abstract.ErrCancelled)
		assert.LessOrEqual(w, time.Since(begun), 10*time.Millisecond)
		require.ErrorIs(w, f.Wait(ctx, nil), abstract.ErrCancelled)

		begun = time.Now()
		err := rpc.Call(ctx, "hang", nil, nil, client.Timeout(700*time.Millisecond))
		require.ErrorIs(w, err, abstract.ErrTimeout)
		assert.InDelta(w, 700, time.Since(begun).Milliseconds(), 20)
		<-h.began
		require.Error(w, <-h.causes)
		assert.InDelta(w, 700, time.Since(begun).Milliseconds(), 30, "the handler knows it, too")

		f = rpc.CallFuture(ctx, "hang", nil, client.Timeout(time.Hour))
		<-h.began
		require.NoError(w, conn.Close())
		require.ErrorIs(w, <-h.causes, abstract.ErrCancelled, "the caller is gone")
		require.Error(w, f.Wait(ctx, nil))
	})
}

// A provider that does not answer at all does not hold up its caller, whatever that
// one does itself.
func TestProviderLostEndsItsCallsAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		provider := w.dial()
		h := w.hidden(host(1), client.NewRegistryClient(provider))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		require.NoError(w, rpc.Call(ctx, "who", nil, nil))
		const calls = 64
		var ended sync.WaitGroup
		begun := time.Now()
		for range calls {
			ended.Go(func() {
				err := rpc.Call(ctx, "hang", nil, nil, client.Timeout(time.Hour))
				require.ErrorIs(w, err, abstract.ErrDisconnected)
				assert.Equal(w, abstract.SentUnknown, sentOf(w, err))
				var e *abstract.Error
				require.ErrorAs(w, err, &e)
				assert.Equal(w, host(1), e.Instance)
			})
		}
		for range calls {
			<-h.began
		}
		require.NoError(w, provider.Close())
		ended.Wait()
		assert.Less(w, time.Since(begun), time.Second)
		for range calls {
			require.Error(w, <-h.causes, "nobody waits for the handlers")
		}
	})
}

// An idempotent call goes on elsewhere when the provider that had it is lost.
func TestIdempotentCallSurvivesItsProviderThroughTheBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conns, all := map[string]*client.Conn{}, map[string]*hidden{}
		for i := range 2 {
			conns[host(i)] = w.dial()
			all[host(i)] = w.hidden(host(i), client.NewRegistryClient(conns[host(i)]))
		}
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithRelay(client.RelayAlways))
		f := rpc.CallFuture(ctx, "slow", nil, client.Idempotent())
		synctest.Wait()
		first := host(0)
		if len(all[first].began) == 0 {
			first = host(1)
		}
		require.NoError(w, conns[first].Close())
		r, err := f.Reply(ctx)
		require.NoError(w, err)
		assert.Equal(w, 2, r.Attempts)
	})
}

func TestBrokerThatDrainsLetsRelayedCallsEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.broker()
		h := w.hidden(host(1), client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		var result string
		f := rpc.CallFuture(ctx, "slow", nil, client.Timeout(time.Minute))
		<-h.began
		b.stop()
		require.NoError(w, f.Wait(ctx, &result))
		assert.Equal(w, "done", result)
		err := rpc.Call(ctx, "who", nil, nil, client.Timeout(time.Second))
		require.Error(w, err)
		assert.Equal(w, abstract.SentNo, sentOf(w, err))
	})
}

func TestProviderThatDrainsLetsRelayedCallsEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		h := w.hidden(host(1), client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		f := rpc.CallFuture(ctx, "slow", nil)
		<-h.began
		h.stop()
		var result string
		require.NoError(w, f.Wait(ctx, &result))
		assert.Equal(w, "done", result)
		require.Error(w, rpc.Call(ctx, "who", nil, nil, client.Timeout(time.Second)))
	})
}

// The broker restarts, and the provider comes back to it: so do calls.
func TestRelayedCallsGoOnAfterTheBrokerRestarted(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.broker()
		w.hidden(host(1), client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithRelay(client.RelayAlways))
		require.NoError(w, rpc.Call(ctx, "who", nil, nil))
		b.stop()
		f := rpc.CallFuture(ctx, "who", nil, client.Timeout(time.Minute))
		time.Sleep(3 * time.Second)
		w.broker()
		require.NoError(w, f.Wait(ctx, nil))
	})
}

func TestBrokerThatDoesNotRelay(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.broker(server.WithRelaying(false))
		w.hidden(host(1), client.NewRegistryClient(w.dial()))
		d := client.NewDiscoveryClient(w.dial())
		err := w.rpc(d, client.WithRelay(client.RelayAlways)).Call(ctx, "who", nil, nil)
		require.ErrorIs(w, err, abstract.ErrUnsupported)
		assert.Equal(w, abstract.SentNo, sentOf(w, err))

		auto := w.rpc(d)
		require.Error(w, auto.Call(ctx, "who", nil, nil, client.Timeout(time.Second)))
		b.srv.(*server.Broker).SetRelaying(true)
		require.NoError(w, w.rpc(d).Call(ctx, "who", nil, nil))
		time.Sleep(31 * time.Second)
		require.NoError(w, auto.Call(ctx, "who", nil, nil), "it asks again now and then")
	})
}

func TestOnlyProvidersThatTakeRelayedCallsGetThem(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		w.hidden(host(1), client.NewRegistryClient(w.dial()), server.WithRelayed(false))
		conn := w.dial()
		d := client.NewDiscoveryClient(conn)
		list, err := d.Discover(ctx, "who")
		require.NoError(w, err)
		require.Len(w, list, 1)
		assert.False(w, list[0].Relay)
		err = w.rpc(d, client.WithRelay(client.RelayAlways)).Call(ctx, "who", nil, nil)
		require.ErrorIs(w, err, abstract.ErrUnavailable)
		assert.Equal(w, abstract.SentNo, sentOf(w, err))
		direct := client.NewDirectRpcClient(conn)
		defer direct.Close()
		require.ErrorIs(w, direct.Call(ctx, "who", nil, nil, client.Relay()), abstract.ErrMethodNotFound)

		w.hidden(host(2), client.NewRegistryClient(w.dial()))
		r, err := w.rpc(d, client.WithRelay(client.RelayAlways)).CallReply(ctx, "who", nil)
		require.NoError(w, err)
		assert.Equal(w, host(2), r.Instance)
	})
}

// Several providers share one connection to the broker: each gets its own calls.
func TestProvidersOfOneConnectionAreToldApart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		var all []*hidden
		for i := range 3 {
			all = append(all, w.hidden(host(i), client.NewRegistryClient(conn)))
		}
		rpc := w.rpc(client.NewDiscoveryClient(conn), client.WithRelay(client.RelayAlways))
		for range 30 {
			var who string
			r, err := rpc.CallReply(ctx, "who", nil)
			require.NoError(w, err)
			require.NoError(w, r.Decode(&who))
			assert.Equal(w, r.Instance, who)
		}
		f := rpc.CallFuture(ctx, "hang", nil, client.Timeout(time.Hour))
		synctest.Wait()
		f.Cancel()
		time.Sleep(10 * time.Millisecond)
		causes := 0
		for _, h := range all {
			causes += len(h.causes)
		}
		assert.Equal(w, 1, causes)
	})
}

// The reader of the provider's connection must never wait for a handler: topics,
// notices and pings go on.
func TestHandlersDoNotHoldUpTheProvidersConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		h := w.hidden(host(1), client.NewRegistryClient(conn), server.WithHandlers(4, 4))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithRelay(client.RelayAlways))
		var futures []*client.Future
		for range 20 {
			futures = append(futures, rpc.CallFuture(ctx, "hang", nil, client.Timeout(time.Hour), client.NoRetry()))
		}
		synctest.Wait()
		assert.Len(w, h.began, 4)
		topics := client.NewTopicClient(conn)
		begun := time.Now()
		require.NoError(w, topics.Create(ctx, "t"))
		assert.Zero(w, time.Since(begun))
		overloaded := 0
		for _, f := range futures {
			f.Cancel()
			if errors.Is(f.Wait(ctx, nil), abstract.ErrOverloaded) {
				overloaded++
			}
		}
		assert.Equal(w, 12, overloaded, "as with a connection of one's own: 4 run and 4 wait")
	})
}

func TestFloodOfRelayedCallsDelaysNoRegistryMessage(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		provider := w.dial()
		w.hidden(host(1), client.NewRegistryClient(provider))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithRelay(client.RelayAlways))
		stop := make(chan struct{})
		var flood sync.WaitGroup
		var calls atomic.Int64
		for range 64 {
			flood.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					calls.Add(1)
					assert.NoError(w, rpc.Call(ctx, "slow", nil, nil))
					assert.NoError(w, rpc.Call(ctx, "sum", sumArgs{1, 2}, nil))
				}
			})
		}
		reg, d := client.NewRegistryClient(provider), client.NewDiscoveryClient(w.dial())
		for i := range 50 {
			p := abstract.Provider{Method: fmt.Sprintf("m%d", i), Host: abstract.Host{IP: "10.0.0.1", Port: 1}}
			limited, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			require.NoError(w, reg.Register(limited, p))
			list, err := d.WaitFor(limited, p.Method)
			cancel()
			require.NoError(w, err)
			require.Len(w, list, 1)
			time.Sleep(37 * time.Millisecond)
		}
		close(stop)
		flood.Wait()
		assert.Greater(w, calls.Load(), int64(64))
	})
}

// TestRelayedChaosEndsEveryCallOnce: whatever is lost, every call ends exactly once,
// and handlers end with their calls.
func TestRelayedChaosEndsEveryCallOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.broker(server.WithCallsPerConn(200))
		var running atomic.Int64
		lose := make(chan struct{})
		var losers sync.WaitGroup
		for i := range 4 {
			conn := w.dial(client.WithBackoff(1, time.Millisecond))
			at, err := abstract.ParseHost(host(i))
			require.NoError(w, err)
			srv := server.NewRpcServer("inside-"+host(i), server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithRegistry(client.NewRegistryClient(conn)), server.WithAdvertise(at))
			require.NoError(w, server.Handle(srv, "any", func(ctx context.Context, _ struct{}) (int, error) {
				running.Add(1)
				defer running.Add(-1)
				switch rand.IntN(8) {
				case 0:
					<-ctx.Done()
					return 0, ctx.Err()
				case 1:
					panic("boom")
				case 2:
					return 0, abstract.Errorf(abstract.Overloaded, "later")
				}
				select {
				case <-time.After(rand.N(20 * time.Millisecond)):
				case <-ctx.Done():
				}
				return 1, nil
			}))
			w.run(srv)
		}
		synctest.Wait()
		losers.Go(func() {
			for {
				select {
				case <-lose:
					return
				case <-time.After(200 * time.Millisecond):
					w.net.Cut() // every connection there is
				}
			}
		})
		var ended, answered atomic.Int64
		const calls = 3000
		clients := make([]*client.RpcClient, 3)
		for i := range clients {
			clients[i] = w.rpc(client.NewDiscoveryClient(w.dial(client.WithBackoff(1, time.Millisecond))), client.WithRelay([]client.RelayMode{client.RelayAuto, client.RelayAlways}[i%2]))
		}
		for i := range calls {
			opts := []client.CallOption{client.Timeout(rand.N(300*time.Millisecond) + time.Millisecond)}
			if i%2 == 0 {
				opts = append(opts, client.Idempotent())
			}
			if i%6 == 0 {
				opts = append(opts, client.HedgeAfter(5*time.Millisecond))
			}
			limited, cancel := context.WithCancel(ctx)
			clients[i%3].CallFunc(limited, "any", nil, func(_ client.Reply, err error) {
				ended.Add(1)
				if err == nil {
					answered.Add(1)
				}
			}, opts...)
			if i%5 == 0 {
				time.AfterFunc(rand.N(20*time.Millisecond), cancel)
			} else {
				w.Cleanup(cancel)
			}
			time.Sleep(rand.N(2 * time.Millisecond))
		}
		close(lose)
		losers.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.EqualValues(w, calls, ended.Load())
		assert.Greater(w, answered.Load(), int64(calls/4))
		assert.Zero(w, running.Load(), "handlers nobody waits for")
		assert.Zero(w, b.srv.(*server.Broker).RelayedCalls(), "calls are left in the broker's tables")
	})
}

func sentOf(t testing.TB, err error) abstract.Sent {
	t.Helper()
	var e *abstract.Error
	require.ErrorAs(t, err, &e)
	return e.Sent
}

// A hedged call that ends while the broker is away leaves nothing behind that waits for
// it.
func TestHedgedCallsLeaveTheBrokersQueue(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		for i := range 2 {
			w.provider(host(i), client.NewRegistryClient(w.dial()))
		}
		rpc := w.rpc(client.NewDiscoveryClient(w.dial(client.WithMaxPending(10))), client.WithRelay(client.RelayAlways), client.WithHedging(client.Hedging{After: time.Millisecond, Ratio: 1}))
		require.NoError(w, rpc.Call(ctx, "who", nil, nil))
		w.net.Refuse(true)
		w.net.Cut()
		synctest.Wait()
		for range 20 {
			err := rpc.Call(ctx, "who", nil, nil, client.Idempotent(), client.Timeout(5*time.Millisecond))
			require.ErrorIs(w, err, abstract.ErrUnavailable)
		}
		var calls []*client.Future
		for range 5 {
			calls = append(calls, rpc.CallFuture(ctx, "who", nil, client.Timeout(5*time.Millisecond)))
		}
		for _, f := range calls {
			require.ErrorIs(w, f.Wait(ctx, nil), abstract.ErrUnavailable)
		}
		w.net.Refuse(false)
	})
}
