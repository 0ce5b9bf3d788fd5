package client_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// TestSilentPeerEndsStreams: nothing comes any more, and nobody says so.
func TestSilentPeerEndsStreams(t *testing.T) {
	inBothWays(t, func(w *world, s *streamer, rpc *client.RpcClient, opts []client.CallOption) {
		hang, err := rpc.OpenStream(w.Context(), "hang", nil, opts...)
		require.NoError(w, err)
		flood, err := rpc.OpenStream(w.Context(), "flood", nil, opts...)
		require.NoError(w, err)
		synctest.Wait()
		w.net.Blackhole(true)
		begun := time.Now()
		require.ErrorIs(w, hang.Receive(nil), abstract.ErrDisconnected)
		err = nil
		for err == nil { // what had come is there
			err = flood.Receive(nil)
		}
		require.ErrorIs(w, err, abstract.ErrDisconnected)
		require.Error(w, <-s.ended)
		require.Error(w, <-s.stopped)
		assert.Less(w, time.Since(begun), 30*time.Second)
		w.net.Blackhole(false)
		time.Sleep(time.Minute)
	})
}

func TestStreamsGoElsewhereWhileNothingIsDone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		full, _ := w.streamer("one:1", client.NewRegistryClient(w.dial()), server.WithStreams(1, 1))
		free, _ := w.streamer("two:1", client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithRetryBudget(client.RetryBudget{Off: true}))
		for range 20 {
			_, err := rpc.OpenStream(w.Context(), "hang", nil)
			require.NoError(w, err)
		}
		assert.Equal(w, 1, full.Streams())
		assert.Equal(w, 19, free.Streams())
		_, err := rpc.OpenStream(w.Context(), "fail", nil)
		require.NoError(w, err)
	})
}

func TestOpenStreamsCountAsPending(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		one, _ := w.streamer("one:1", client.NewRegistryClient(w.dial()))
		two, _ := w.streamer("two:1", client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithMaxConcurrent(20))
		ctx, cancel := context.WithCancel(w.Context())
		for range 20 {
			_, err := rpc.OpenStream(ctx, "hang", nil)
			require.NoError(w, err)
		}
		assert.InDelta(w, one.Streams(), two.Streams(), 4)
		pending := func() (n int) {
			for _, in := range rpc.Instances("hang") {
				n += in.Pending
			}
			return n
		}
		assert.Equal(w, 20, pending())
		_, err := rpc.OpenStream(ctx, "hang", nil)
		require.ErrorIs(w, err, abstract.ErrOverloaded, "by the client's own limit")
		time.Sleep(time.Hour)
		cancel()
		synctest.Wait()
		assert.Zero(w, pending())
		st, err := rpc.OpenStream(w.Context(), "count", map[string]int{"N": 1})
		require.NoError(w, err)
		time.Sleep(time.Hour)
		require.NoError(w, st.Receive(nil))
		require.ErrorIs(w, st.Receive(nil), io.EOF)
		for _, in := range rpc.Instances("count") {
			assert.Less(w, in.Latency, time.Second, "how long it was open says nothing")
		}
	})
}

func TestStreamsOutliveTheRegistration(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		reg := client.NewRegistryClient(w.dial())
		s, _ := w.streamer("one:1", reg)
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		st, err := rpc.OpenStream(w.Context(), "echo", nil)
		require.NoError(w, err)
		require.NoError(w, reg.Unregister(w.Context(), abstract.Provider{Method: "echo", Host: abstract.Host{IP: "one", Port: 1}, Instance: s.Instance()}))
		time.Sleep(time.Minute)
		for range 3 {
			require.NoError(w, st.Send("still there"))
			require.NoError(w, st.Receive(nil))
		}
		require.NoError(w, st.CloseSend())
		require.ErrorIs(w, st.Receive(nil), io.EOF)
	})
}

func TestShutdownGivesStreamsAWhile(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		s, run := w.streamer("one:1", client.NewRegistryClient(w.dial()), server.WithDrain(0, 4*time.Second))
		var hanging, echoing []abstract.Stream
		for _, opts := range streamWays {
			rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
			hang, err := rpc.OpenStream(w.Context(), "hang", nil, opts...)
			require.NoError(w, err)
			echo, err := rpc.OpenStream(w.Context(), "echo", nil, opts...)
			require.NoError(w, err)
			hanging, echoing = append(hanging, hang), append(echoing, echo)
			time.AfterFunc(time.Second, func() {
				assert.NoError(w, echo.Send("in time"))
				assert.NoError(w, echo.CloseSend())
			})
		}
		begun := time.Now()
		run.stop()
		assert.Less(w, time.Since(begun), 10*time.Second)
		for range streamWays {
			require.ErrorIs(w, <-s.ended, abstract.ErrDraining)
		}
		for i := range hanging {
			require.ErrorIs(w, hanging[i].Receive(nil), abstract.ErrDraining)
			require.NoError(w, echoing[i].Receive(nil))
		}
	})
}

func TestClosedClientEndsItsStreams(t *testing.T) {
	inBothWays(t, func(w *world, s *streamer, rpc *client.RpcClient, opts []client.CallOption) {
		st, err := rpc.OpenStream(w.Context(), "hang", nil, opts...)
		require.NoError(w, err)
		if len(opts) > 0 { // the broker's connection is not the client's
			_ = st.Close()
		}
		require.NoError(w, rpc.Close())
		require.Error(w, st.Receive(nil))
		require.Error(w, <-s.ended)
		_, err = rpc.OpenStream(w.Context(), "hang", nil, opts...)
		require.ErrorIs(w, err, abstract.ErrDisconnected)
	})
}

func TestBreakerHearsOfStreams(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		w.streamer("one:1", client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithBreaker(client.Breaker{}))
		for range 50 {
			st, err := rpc.OpenStream(w.Context(), "hang", nil)
			if err != nil {
				require.ErrorIs(w, err, abstract.ErrUnavailable)
				require.ErrorContains(w, err, "breaker open")
				return
			}
			w.net.Cut()
			require.ErrorIs(w, st.Receive(nil), abstract.ErrDisconnected)
			time.Sleep(100 * time.Millisecond)
		}
		require.Fail(w, "it has never opened")
	})
}

// TestStreamsOfAHandlerLeaveIt time for its own answer.
func TestStreamsOfAHandlerLeaveIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		w.streamer("one:1", client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()))
		left := make(chan time.Duration, 1)
		srv := server.NewRpcServer("two:1", server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithRegistry(client.NewRegistryClient(w.dial())))
		require.NoError(w, server.Handle(srv, "outer", func(ctx context.Context, _ struct{}) (string, error) {
			begun := time.Now()
			st, err := rpc.OpenStream(ctx, "hang", nil)
			if err != nil {
				return "", err
			}
			err = st.Receive(nil)
			left <- time.Since(begun)
			return abstract.CodeOf(err).String(), nil
		}))
		w.run(srv)
		synctest.Wait()
		var got string
		require.NoError(w, rpc.Call(w.Context(), "outer", nil, &got, client.Timeout(time.Second)))
		assert.Equal(w, "timeout", got)
		assert.Equal(w, 950*time.Millisecond, (<-left).Round(10*time.Millisecond))
	})
}

// TestDeadlineOfAStreamSaysNothingOfItsProvider: who follows something for a while has not
// been let down.
func TestDeadlineOfAStreamSaysNothingOfItsProvider(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		w.streamer("one:1", client.NewRegistryClient(w.dial()))
		rpc := w.rpc(client.NewDiscoveryClient(w.dial()), client.WithBreaker(client.Breaker{}))
		for range 50 {
			st, err := rpc.OpenStream(w.Context(), "hang", nil, client.Timeout(100*time.Millisecond))
			require.NoError(w, err)
			require.ErrorIs(w, st.Receive(nil), abstract.ErrTimeout)
		}
	})
}
