package client_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

var ctx = context.Background()

func errorOf(t *testing.T, err error) *abstract.Error {
	t.Helper()
	var e *abstract.Error
	require.ErrorAs(t, err, &e)
	return e
}

func TestThreeWaysToCall(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		w.provider(host(1), client.NewRegistryClient(conn))
		rpc := w.rpc(client.NewDiscoveryClient(conn))

		var sum int
		require.NoError(w, rpc.Call(ctx, "sum", sumArgs{1, 2}, &sum))
		assert.Equal(w, 3, sum)

		future := rpc.CallFuture(ctx, "sum", map[string]any{"a": 3, "b": 4})
		for range 2 { // it may be waited for many times
			require.NoError(w, future.Wait(ctx, &sum))
			assert.Equal(w, 7, sum)
		}
		<-future.Done()

		got := make(chan int)
		rpc.CallFunc(ctx, "sum", sumArgs{5, 6}, func(r client.Reply, err error) {
			var v int
			assert.NoError(w, err)
			assert.NoError(w, r.Decode(&v))
			got <- v // blocks until we go on: a callback is never called inside CallFunc
		})
		assert.Equal(w, 11, <-got)
	})
}

func TestErrorsOfACall(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		w.provider(host(1), client.NewRegistryClient(conn))
		rpc := w.rpc(client.NewDiscoveryClient(conn))

		err := rpc.Call(ctx, "nosuch", nil, nil)
		assert.ErrorIs(w, err, abstract.ErrMethodNotFound, "at once, not at the deadline")
		assert.Equal(w, abstract.SentNo, errorOf(w.T, err).Sent)

		err = rpc.Call(ctx, "sum", map[string]any{"a": 1, "b": "x"}, nil)
		assert.ErrorIs(w, err, abstract.ErrInvalidParams)
		e := errorOf(w.T, err)
		assert.Contains(w, e.Message, `"b"`, "the field is named")
		assert.True(w, e.FromPeer)
		assert.Equal(w, abstract.SentYes, e.Sent)
		assert.Equal(w, host(1), e.Instance)
		assert.Equal(w, 1, e.Attempts)

		err = rpc.Call(ctx, "fail", nil, nil)
		assert.ErrorIs(w, err, abstract.ErrDenied, "codes of ours reach a modern peer")
		assert.JSONEq(w, `{"need":"more"}`, string(errorOf(w.T, err).Details))

		assert.ErrorIs(w, rpc.Call(ctx, "sum", []int{1}, nil), abstract.ErrInvalidParams, "parameters are an object")
		assert.ErrorIs(w, rpc.Call(ctx, "sum", make(chan int), nil), abstract.ErrInvalidParams)
		var s string
		assert.ErrorIs(w, rpc.Call(ctx, "sum", sumArgs{}, &s), abstract.ErrInvalidMessage, "the result does not fit")
	})
}

func TestDeadlines(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		w.provider(host(1), client.NewRegistryClient(conn))
		rpc := w.rpc(client.NewDiscoveryClient(conn))

		for _, c := range []struct {
			name string
			call func(context.Context) error
			want time.Duration
		}{
			{"default", func(ctx context.Context) error { return rpc.Call(ctx, "hang", nil, nil) }, 5 * time.Second},
			{"option", func(ctx context.Context) error {
				return rpc.Call(ctx, "hang", nil, nil, client.Timeout(300*time.Millisecond))
			}, 300 * time.Millisecond},
			{"context", func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
				return rpc.Call(ctx, "hang", nil, nil)
			}, 200 * time.Millisecond},
			{"future", func(ctx context.Context) error {
				return rpc.CallFuture(ctx, "hang", nil, client.Timeout(time.Second)).Wait(ctx, nil)
			}, time.Second},
		} {
			start := time.Now()
			err := c.call(ctx)
			took := time.Since(start)
			assert.ErrorIs(w, err, abstract.ErrTimeout, c.name)
			assert.GreaterOrEqual(w, took, c.want, c.name)
			assert.LessOrEqual(w, took, c.want+10*time.Millisecond, c.name) // virtual time: exact but for the timer's grain
		}
	})
}

func TestCancel(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		w.provider(host(1), client.NewRegistryClient(conn))
		rpc := w.rpc(client.NewDiscoveryClient(conn))

		cancelled, cancel := context.WithCancel(ctx)
		future := rpc.CallFuture(cancelled, "hang", nil)
		called := make(chan error, 1)
		rpc.CallFunc(cancelled, "hang", nil, func(_ client.Reply, err error) { called <- err })
		synctest.Wait()
		cancel()
		assert.ErrorIs(w, future.Wait(ctx, nil), abstract.ErrCancelled)
		assert.ErrorIs(w, <-called, abstract.ErrCancelled)

		other := rpc.CallFuture(ctx, "hang", nil)
		other.Cancel()
		assert.ErrorIs(w, other.Wait(ctx, nil), abstract.ErrCancelled)

		err := rpc.Call(cancelled, "sum", nil, nil)
		assert.ErrorIs(w, err, abstract.ErrCancelled)
		assert.Equal(w, abstract.SentNo, errorOf(w.T, err).Sent)
	})
}

func TestLossEndsCallsInFlightAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		w.provider(host(1), client.NewRegistryClient(conn))
		rpc := w.rpc(client.NewDiscoveryClient(conn))
		future := rpc.CallFuture(ctx, "hang", nil)
		synctest.Wait()
		start := time.Now()
		w.net.Cut()
		err := future.Wait(ctx, nil)
		assert.ErrorIs(w, err, abstract.ErrDisconnected)
		assert.Equal(w, abstract.SentUnknown, errorOf(w.T, err).Sent, "it was sent, and nobody knows what became of it")
		assert.Less(w, time.Since(start), time.Second)
	})
}

func TestIdempotentCallsMoveToAnotherProvider(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn, other := w.dial(), w.dial()
		first := w.provider(host(1), client.NewRegistryClient(conn))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		hanging := rpc.CallFuture(ctx, "hang", nil, client.Idempotent(), client.Timeout(time.Minute))
		plain := rpc.CallFuture(ctx, "hang", nil, client.Timeout(time.Minute))
		synctest.Wait()
		second := w.provider(host(2), client.NewRegistryClient(other))
		_ = second

		closing, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		_ = first.srv.Shutdown(closing) // does not wait for the hanging calls: they are cut
		first.once.Do(func() { <-first.ended })
		err := plain.Wait(ctx, nil)
		assert.ErrorIs(w, err, abstract.ErrDisconnected, "not idempotent: it may have been done")
		synctest.Wait()
		select {
		case <-hanging.Done():
			assert.Fail(w, "the idempotent call should go on at the other provider")
		default:
		}
		hanging.Cancel()
		assert.Equal(w, 2, errorOf(w.T, hanging.Wait(ctx, nil)).Attempts)
	})
}

func TestCallsTakeTurns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		for i := range 3 {
			w.provider(host(i+1), client.NewRegistryClient(conn))
		}
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithBalancing("round-robin"))
		seen := map[string]int{}
		for range 30 {
			var who string
			require.NoError(w, rpc.Call(ctx, "who", nil, &who))
			seen[who]++
		}
		assert.Equal(w, map[string]int{host(1): 10, host(2): 10, host(3): 10}, seen)
	})
}

func TestUnknownBalancingIsAnErrorOfEveryCall(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		w.provider(host(1), client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithBalancing("rotate"))
		err := rpc.Call(ctx, "who", nil, nil)
		assert.ErrorIs(w, err, abstract.ErrInvalidParams)
		assert.ErrorContains(w, err, "use one of least-pending, round-robin,")
	})
}

func TestCallsOfAKeyGoToOneProvider(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		for i := range 5 {
			w.provider(host(i+1), client.NewRegistryClient(conn))
		}
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithBalancing("hash"))
		used := map[string]bool{}
		for key := range 20 {
			first := ""
			for range 5 {
				var who string
				require.NoError(w, rpc.Call(ctx, "who", nil, &who, client.Key(strconv.Itoa(key))))
				if first == "" {
					first = who
				}
				assert.Equal(w, first, who)
			}
			used[first] = true
		}
		assert.Greater(w, len(used), 2, "keys are spread")
	})
}

func TestFailingProviderIsLeftOut(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		w.provider(host(1), client.NewRegistryClient(conn))
		w.provider(host(2), client.NewRegistryClient(conn))
		bad := w.run(server.NewRpcServer(host(3), server.WithTransport(w.net.Server), server.WithLogger(quiet)))
		require.NoError(w, server.Handle(bad.srv.(*server.RpcServer), "who", func(context.Context, struct{}) (string, error) {
			return "", errors.New("it is broken")
		}))
		h, err := abstract.ParseHost(host(3))
		require.NoError(w, err)
		require.NoError(w, client.NewRegistryClient(conn).Register(ctx, abstract.Provider{Method: "who", Host: h, Hello: true}))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		failures := func() (n int) {
			for range 1500 {
				if rpc.Call(ctx, "who", nil, nil) != nil {
					n++
				}
				time.Sleep(10 * time.Millisecond)
			}
			return n
		}
		assert.Greater(w, failures(), 100)
		assert.Less(w, failures(), 20, "it gets no calls but now and then one on trial")
	})
}

func TestUnreachableProviderIsPassedOver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		reg := client.NewRegistryClient(conn)
		w.provider(host(1), reg)
		ghost, err := abstract.ParseHost(host(9))
		require.NoError(w, err)
		require.NoError(w, reg.Register(ctx, abstract.Provider{Method: "sum", Host: ghost}))
		rpc := w.rpc(client.NewDiscoveryClient(conn))
		for i := range 20 {
			var sum int
			require.NoError(w, rpc.Call(ctx, "sum", sumArgs{i, 1}, &sum), "a call that never left goes elsewhere, idempotent or not")
			assert.Equal(w, i+1, sum)
		}
	})
}

func TestDrainingProviderLosesNoCall(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn, other := w.dial(), w.dial()
		first := w.provider(host(1), client.NewRegistryClient(conn))
		w.provider(host(2), client.NewRegistryClient(other))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		stopped := make(chan struct{})
		go func() {
			time.Sleep(50 * time.Millisecond)
			first.stop()
			close(stopped)
		}()
		for i := range 1000 {
			var sum int
			require.NoError(w, rpc.Call(ctx, "sum", sumArgs{i, 1}, &sum))
			time.Sleep(100 * time.Microsecond)
		}
		<-stopped
	})
}

func TestEverythingIsRestoredAfterABrokerRestart(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.broker()
		var log []string
		conn := w.dial(
			client.OnConnected(func() { log = append(log, "up") }),
			client.OnDisconnected(func(err error) {
				assert.Error(w, err)
				log = append(log, "down")
			}))
		disc, topics := client.NewDiscoveryClient(conn), client.NewTopicClient(conn)
		w.provider(host(1), client.NewRegistryClient(conn))
		var offline []abstract.Provider
		disc.OnOffline(func(p abstract.Provider) { offline = append(offline, p) })
		rpc := w.rpc(disc)
		var sum int
		require.NoError(w, rpc.Call(ctx, "sum", sumArgs{1, 1}, &sum))
		require.NoError(w, topics.Create(ctx, "news"))
		var got []string
		_, err := topics.Subscribe(ctx, "news", func(m client.Message) { got = append(got, string(m.Data)) })
		require.NoError(w, err)

		first.stop()
		synctest.Wait()
		assert.False(w, conn.Connected())
		require.NoError(w, rpc.Call(ctx, "sum", sumArgs{2, 2}, &sum), "calls go on without the broker")
		w.broker()
		require.NoError(w, topics.Publish(ctx, "news", "again"), "a publish waits for the connection")
		synctest.Wait()
		assert.Equal(w, []string{`"again"`}, got)
		assert.Equal(w, []string{"up", "down", "up"}, log)

		other := client.NewDiscoveryClient(w.dial())
		list, err := other.WaitFor(ctx, "sum")
		require.NoError(w, err)
		assert.Len(w, list, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(w, offline, "a broker that is away never makes an OFFLINE")
	})
}

func TestSubscriptionToALostTopicIsTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.broker()
		maker := w.dial()
		require.NoError(w, client.NewTopicClient(maker).Create(ctx, "news"))
		problems := 0
		conn := w.dial(client.OnProblem(func(err error) {
			assert.ErrorIs(w, err, abstract.ErrTopicNotFound)
			problems++
		}))
		got := make(chan client.Message, 10)
		_, err := client.NewTopicClient(conn).Subscribe(ctx, "news", func(m client.Message) { got <- m })
		require.NoError(w, err)
		first.stop()
		require.NoError(w, maker.Close()) // it does not come back to make the topic again
		w.broker()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Equal(w, 1, problems)
		late := client.NewTopicClient(w.dial())
		require.NoError(w, late.Create(ctx, "news"))
		time.Sleep(10 * time.Second)
		require.NoError(w, late.Publish(ctx, "news", 1))
		assert.Equal(w, "1", string((<-got).Data))
	})
}

func TestOnlineAndOffline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		disc := client.NewDiscoveryClient(conn)
		var events []string
		disc.OnOnline(func(p abstract.Provider) { events = append(events, "online "+p.Host.String()) })
		stop := disc.OnOffline(func(p abstract.Provider) { events = append(events, "offline "+p.Host.String()) })
		list, err := disc.Discover(ctx, "who")
		require.NoError(w, err)
		assert.Empty(w, list)
		first := w.provider(host(1), client.NewRegistryClient(w.dial()))
		second := w.provider(host(2), client.NewRegistryClient(w.dial()))
		synctest.Wait()
		first.stop()
		synctest.Wait()
		assert.Equal(w, []string{"online " + host(1), "online " + host(2), "offline " + host(1)}, events)
		stop()
		second.stop()
		synctest.Wait()
		assert.Len(w, events, 3)
	})
}

func TestAskingDuringTheGraceDoesNotEndIt(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.broker()
		provider := w.dial()
		h, _ := abstract.ParseHost(host(1))
		require.NoError(w, client.NewRegistryClient(provider).Register(ctx, abstract.Provider{Method: "m", Host: h}))
		disc := client.NewDiscoveryClient(w.dial(client.WithGrace(10 * time.Second)))
		var offline []time.Time
		disc.OnOffline(func(abstract.Provider) { offline = append(offline, time.Now()) })
		_, err := disc.Discover(ctx, "m")
		require.NoError(w, err)
		first.stop()
		require.NoError(w, provider.Close())
		w.broker()
		var back time.Time
		for range 20 {
			if _, err = disc.Discover(ctx, "m"); err == nil && back.IsZero() {
				back = time.Now()
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		require.Len(w, offline, 1)
		assert.GreaterOrEqual(w, offline[0].Sub(back), 9*time.Second)
	})
}

func TestVanishedWhileAwayIsToldAfterTheGrace(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.broker()
		provider := w.dial()
		reg := client.NewRegistryClient(provider)
		h, _ := abstract.ParseHost(host(1))
		require.NoError(w, reg.Register(ctx, abstract.Provider{Method: "m", Host: h}))
		disc := client.NewDiscoveryClient(w.dial(client.WithGrace(3 * time.Second)))
		var offline []time.Time
		disc.OnOffline(func(abstract.Provider) { offline = append(offline, time.Now()) })
		list, err := disc.Discover(ctx, "m")
		require.NoError(w, err)
		require.Len(w, list, 1)
		first.stop()
		require.NoError(w, provider.Close())
		back := time.Now()
		w.broker()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(w, offline, 1)
		assert.GreaterOrEqual(w, offline[0].Sub(back), 3*time.Second, "believed in for a while")
		assert.Less(w, offline[0].Sub(back), 15*time.Second)
	})
}

func TestWatchAndWaitFor(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		disc := client.NewDiscoveryClient(w.dial())
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := disc.WaitFor(short, "who")
		assert.ErrorIs(w, err, abstract.ErrTimeout)

		var sizes []int
		watching, stop := context.WithCancel(ctx)
		done := make(chan error)
		go func() {
			for p, err := range disc.Watch(watching, "who") {
				if err != nil {
					done <- err
					return
				}
				sizes = append(sizes, len(p.List))
			}
		}()
		synctest.Wait()
		first := w.provider(host(1), client.NewRegistryClient(w.dial()))
		synctest.Wait()
		list, err := disc.WaitFor(ctx, "who")
		require.NoError(w, err)
		assert.Equal(w, host(1), list[0].Host.String())
		assert.True(w, list[0].Hello)
		first.stop()
		synctest.Wait()
		stop()
		assert.ErrorIs(w, <-done, context.Canceled)
		assert.Equal(w, []int{0, 1, 1, 0}, sizes, "it retires before it goes")
	})
}

func TestHalfOpenConnectionIsNoticedByBothEnds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithPing(2*time.Second, 5))
		lost := make(chan time.Time, 1)
		disc := client.NewDiscoveryClient(w.dial())
		_, err := disc.Discover(ctx, "m")
		require.NoError(w, err)
		conn := w.dial(client.OnDisconnected(func(error) { lost <- time.Now() }))
		h, _ := abstract.ParseHost(host(1))
		require.NoError(w, client.NewRegistryClient(conn).Register(ctx, abstract.Provider{Method: "m", Host: h}))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(w, lost, "a silent connection that lives stays")
		w.net.Blackhole(true)
		start := time.Now()
		at := <-lost
		assert.InDelta(w, 10, at.Sub(start).Seconds(), 3)
		w.net.Blackhole(false)
		for !conn.Connected() {
			time.Sleep(time.Second)
		}
	})
}

func TestTopics(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		topics := client.NewTopicClient(w.dial())
		publisher := client.NewTopicClient(w.dial())
		assert.ErrorIs(w, publisher.Publish(ctx, "news", 1), abstract.ErrTopicNotFound)
		_, err := topics.Subscribe(ctx, "news", func(client.Message) {})
		assert.ErrorIs(w, err, abstract.ErrTopicNotFound)
		assert.ErrorIs(w, topics.Remove(ctx, "news"), abstract.ErrTopicNotFound)
		assert.ErrorIs(w, topics.Cancel(ctx, "news"), abstract.ErrTopicNotFound)

		require.NoError(w, topics.Create(ctx, "news"))
		var got [2][]string
		var subs [2]*client.Subscription
		for i := range subs {
			subs[i], err = topics.Subscribe(ctx, "news", func(m client.Message) { got[i] = append(got[i], string(m.Data)) })
			require.NoError(w, err)
		}
		var iterated []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for m, err := range topics.Messages(ctx, "news") {
				if !assert.NoError(w, err) {
					return
				}
				if iterated = append(iterated, string(m.Data)); len(iterated) == 3 {
					return
				}
			}
		}()
		synctest.Wait()
		for _, v := range []any{1, "two", map[string]int{"three": 3}} {
			require.NoError(w, publisher.Publish(ctx, "news", v))
		}
		<-done
		synctest.Wait()
		want := []string{`1`, `"two"`, `{"three":3}`}
		assert.Equal(w, want, got[0])
		assert.Equal(w, want, got[1])
		assert.Equal(w, want, iterated)

		require.NoError(w, subs[0].Cancel(ctx))
		require.NoError(w, publisher.Publish(ctx, "news", 4))
		synctest.Wait()
		assert.Len(w, got[0], 3)
		assert.Len(w, got[1], 4)
		require.NoError(w, topics.Cancel(ctx, "news"))
		require.NoError(w, publisher.Publish(ctx, "news", 5))
		synctest.Wait()
		assert.Len(w, got[1], 4)
	})
}

func TestSlowCallbackLosesTheOldestAndIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		topics := client.NewTopicClient(w.dial(client.WithSubscriptionQueue(10_000)))
		require.NoError(w, topics.Create(ctx, "news"))
		hold := make(chan struct{})
		var got []client.Message
		_, err := topics.Subscribe(ctx, "news", func(m client.Message) { <-hold; got = append(got, m) })
		require.NoError(w, err)
		publisher := client.NewTopicClient(w.dial())
		const n = 1000
		for i := range n {
			require.NoError(w, publisher.Publish(ctx, "news", i))
		}
		close(hold)
		synctest.Wait()
		total := 0
		for _, m := range got {
			total += 1 + int(m.Missed)
		}
		assert.Less(w, len(got), n)
		assert.Equal(w, n, total, "every message was delivered or is counted as missed")
		assert.Equal(w, "999", string(got[len(got)-1].Data), "the newest are kept")
	})
}

func TestTooManyPendingCalls(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		w.provider(host(1), client.NewRegistryClient(conn))
		rpc := w.rpc(client.NewDiscoveryClient(conn), client.WithMaxPending(10))
		require.NoError(w, rpc.Call(ctx, "sum", sumArgs{}, nil))
		for range 10 {
			rpc.CallFuture(ctx, "hang", nil)
		}
		synctest.Wait()
		err := rpc.Call(ctx, "sum", sumArgs{}, nil)
		assert.ErrorIs(w, err, abstract.ErrOverloaded)
		assert.Equal(w, abstract.SentNo, errorOf(w.T, err).Sent)
	})
}

func TestTooLargeIsSaidBeforeItIsSent(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker(server.WithMaxFrame(10_000))
		topics := client.NewTopicClient(w.dial())
		require.NoError(w, topics.Create(ctx, "news"))
		err := topics.Publish(ctx, "news", string(make([]byte, 20_000)))
		assert.ErrorIs(w, err, abstract.ErrTooLarge)
		assert.Equal(w, abstract.SentNo, errorOf(w.T, err).Sent)
		require.NoError(w, topics.Publish(ctx, "news", "small"), "the connection lives")
	})
}

func TestClosedClientsSayso(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		conn := w.dial()
		w.provider(host(1), client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(conn))
		var lost error
		rpc.CallFunc(ctx, "hang", nil, func(_ client.Reply, err error) { lost = err })
		synctest.Wait()
		require.NoError(w, rpc.Close())
		assert.ErrorIs(w, lost, abstract.ErrDisconnected, "a callback is never lost")
		assert.ErrorIs(w, rpc.Call(ctx, "sum", nil, nil), abstract.ErrDisconnected)
		require.NoError(w, conn.Close())
		start := time.Now()
		assert.ErrorIs(w, client.NewTopicClient(conn).Create(ctx, "x"), abstract.ErrDisconnected)
		assert.Zero(w, time.Since(start))
	})
}

func TestDialSaysWhy(t *testing.T) {
	inWorld(t, func(w *world) {
		_, err := client.Dial(ctx, "broker", client.WithTransport(w.net.Client))
		assert.ErrorIs(w, err, abstract.ErrUnavailable)
	})
}

func TestProvidersSayWhatCallersChooseBy(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		h, err := abstract.ParseHost(host(1))
		require.NoError(w, err)
		reg := client.NewRegistryClient(w.dial())
		disc := client.NewDiscoveryClient(w.dial())
		changes := make(chan abstract.Providers, 10)
		defer disc.Follow("m", func(p abstract.Providers) { changes <- p })()
		p := abstract.Provider{Method: "m", Host: h, Instance: "a", Traits: abstract.Traits{Weight: 7, Zone: "east", Version: "1.2"}}
		require.NoError(w, reg.Register(ctx, p))
		list, err := disc.Discover(ctx, "m")
		require.NoError(w, err)
		require.Len(w, list, 1)
		assert.Equal(w, p.Traits, list[0].Traits)
		synctest.Wait()
		for len(changes) > 0 {
			<-changes
		}
		p.Weight = 9
		require.NoError(w, reg.Register(ctx, p), "the same one, changed")
		change := <-changes
		assert.Empty(w, change.Online)
		assert.Empty(w, change.Offline)
		require.Len(w, change.List, 1)
		assert.Equal(w, 9, change.List[0].Weight)
		p.Traits = abstract.Traits{}
		require.NoError(w, reg.Unregister(ctx, p), "what it says does not matter")
		list, err = disc.Discover(ctx, "m")
		require.NoError(w, err)
		assert.Empty(w, list)
	})
}

func TestWeightsShareOutTheCalls(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		for i, weight := range []int{100, 300} {
			srv := server.NewRpcServer(host(i+1), server.WithTransport(w.net.Server), server.WithLogger(quiet),
				server.WithRegistry(client.NewRegistryClient(w.dial())), server.WithTraits(abstract.Traits{Weight: weight}))
			require.NoError(w, server.Handle(srv, "who", func(context.Context, struct{}) (string, error) { return host(i + 1), nil }))
			w.run(srv)
		}
		synctest.Wait()
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithBalancing("weighted"))
		seen := map[string]int{}
		for range 400 {
			var who string
			require.NoError(w, rpc.Call(ctx, "who", nil, &who))
			seen[who]++
		}
		assert.InDelta(w, 300, seen[host(2)], 8)
	})
}

func TestCallsStayInTheirZone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		for i, zone := range []string{"east", "west", "west"} {
			srv := server.NewRpcServer(host(i+1), server.WithTransport(w.net.Server), server.WithLogger(quiet),
				server.WithRegistry(client.NewRegistryClient(w.dial())), server.WithTraits(abstract.Traits{Zone: zone}))
			require.NoError(w, server.Handle(srv, "where", func(context.Context, struct{}) (string, error) { return zone, nil }))
			w.run(srv)
		}
		synctest.Wait()
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithZone("west"), client.WithBalancing("zone"))
		near := 0
		for range 200 {
			var zone string
			require.NoError(w, rpc.Call(ctx, "where", nil, &zone))
			if zone == "west" {
				near++
			}
		}
		assert.Greater(w, near, 180)
	})
}
