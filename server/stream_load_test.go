package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"slices"
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
	"trefoil/concrete/compress"
	"trefoil/concrete/mem"
	"trefoil/concrete/stdnet"
	"trefoil/server"
)

// streamRoad is a transport at both sides.
type streamRoad struct {
	name, addr string
	server     server.Option
	client     client.Option
}

func streamRoads(t *testing.T) []streamRoad {
	network, ca := mem.NewNetwork(), newAuthority(t)
	cfg := stdnet.TLSConfig{}
	cfg.CertFile, cfg.KeyFile = ca.issue("server", time.Time{})
	list := []streamRoad{
		{"standard net", "127.0.0.1:0", server.WithTransport(server.StandardNet), client.WithTransport(client.StandardNet)},
		{"tls", "127.0.0.1:0", server.WithTLS(newTLS(t, cfg)), client.WithTLS(newTLS(t, stdnet.TLSConfig{RootCAFile: ca.file}))},
		{"mem", "host:1", server.WithTransport(network.Server), client.WithTransport(network.Client)},
	}
	packed := compress.New(compress.Config{Above: 64})
	list = append(list, streamRoad{"compressed", "127.0.0.1:0", server.WithCompression(packed), client.WithCompression(packed)})
	if runtime.GOOS != "windows" {
		list = append(list, streamRoad{"netpoll", "127.0.0.1:0", server.WithTransport(server.Netpoll), client.WithTransport(client.Netpoll)})
	}
	return list
}

// onStreamRoads runs a test with a server and a client of it, over each transport, or
// over those that are named.
func onStreamRoads(t *testing.T, prepare func(t *testing.T, b *server.Broker), test func(t *testing.T, b *server.Broker, calls *client.RpcClient), names ...string) {
	for _, road := range streamRoads(t) {
		if len(names) > 0 && !slices.Contains(names, road.name) {
			continue
		}
		t.Run(road.name, func(t *testing.T) {
			b := server.NewBroker(road.addr, road.server, server.WithLogger(quietLog()), server.WithStreams(2000, 0), server.WithDrain(0, time.Second))
			prepare(t, b)
			serve(t, b)
			calls, err := client.DialRpc(t.Context(), b.Addr().String(), patiently(road.client, client.WithLogger(quietLog()))...)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, calls.Close()) })
			test(t, b, calls)
		})
	}
}

// numbered is a message with its number, with a text of some length.
type numbered struct {
	N    int    `json:"n"`
	Text string `json:"text"`
}

func serveNumbers(t *testing.T, b *server.Broker) {
	t.Helper()
	require.NoError(t, b.HandleStream(server.Description{Method: "numbers", Result: server.KindAny}, func(params json.RawMessage, st abstract.Stream) error {
		var in numbered
		if err := json.Unmarshal(params, &in); err != nil {
			return err
		}
		if err := st.Receive(nil); err != nil { // when to begin
			return err
		}
		for i := 0; i != in.N; i++ {
			if err := st.Send(numbered{i, in.Text}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// TestThousandStreamsWithOneThatIsNotRead: on one connection, the others go on to their
// end, and both sides keep no more than the windows.
func TestThousandStreamsWithOneThatIsNotRead(t *testing.T) {
	const streams, each = 1000, 30
	text := repeat("x", 200)
	onStreamRoads(t, serveNumbers, func(t *testing.T, b *server.Broker, calls *client.RpcClient) {
		before := heapNow()
		unread, err := calls.OpenStream(t.Context(), "numbers", numbered{-1, text})
		require.NoError(t, err)
		require.NoError(t, unread.Send(0))
		all := make([]abstract.Stream, streams-1)
		for i := range all {
			all[i], err = calls.OpenStream(t.Context(), "numbers", numbered{each, text})
			require.NoError(t, err)
		}
		require.Equal(t, streams, b.Streams())
		var done sync.WaitGroup
		var wrong atomic.Int64
		for _, st := range all {
			require.NoError(t, st.Send(0))
		}
		most := heapNow() - before // some have sent all by now, which waits to be read
		for _, st := range all {
			done.Go(func() {
				for want := 0; ; want++ {
					var got numbered
					switch err := st.Receive(&got); {
					case errors.Is(err, io.EOF) && want == each:
						return
					case err != nil || got.N != want:
						wrong.Add(1)
						return
					}
				}
			})
		}
		done.Wait()
		assert.Zero(t, wrong.Load())
		require.Eventually(t, func() bool { return b.Streams() == 1 }, patience, time.Millisecond)
		clear(all)
		after := heapNow() - before
		t.Logf("heap of both sides: %d KiB with %d streams under way, %d KiB with the one that is not read", most>>10, streams, after>>10)
		assert.Less(t, most, int64(100<<20))
		assert.Less(t, after, int64(8<<20))
		require.NoError(t, unread.Close())
		require.Eventually(t, func() bool { return b.Streams() == 0 }, patience, time.Millisecond)
	}, "standard net", "netpoll")
}

func heapNow() int64 {
	runtime.GC()
	runtime.GC() // of what pools keep for a while
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMessagesOfManyStreamsComeInOrder: 200,000 in all with TREFOIL_LONG, read at random
// paces, and echoed.
func TestMessagesOfManyStreamsComeInOrder(t *testing.T) {
	const streams = 64
	counts := map[string]int{"standard net": 40_000} // the others show the same with fewer
	if os.Getenv("TREFOIL_LONG") != "" {
		counts["standard net"] = 200_000
	}
	echo := func(t *testing.T, b *server.Broker) {
		require.NoError(t, b.HandleStream(server.Description{Method: "echo", Result: server.KindAny}, func(_ json.RawMessage, st abstract.Stream) error {
			for {
				var v json.RawMessage
				switch err := st.Receive(&v); {
				case errors.Is(err, io.EOF):
					return nil
				case err != nil:
					return err
				}
				if err := st.Send(v); err != nil {
					return err
				}
			}
		}))
	}
	onStreamRoads(t, echo, func(t *testing.T, b *server.Broker, calls *client.RpcClient) {
		var done sync.WaitGroup
		var wrong atomic.Int64
		each := max(counts[path.Base(strings.ReplaceAll(t.Name(), "_", " "))], 6_400) / streams
		begun := time.Now()
		for s := range streams {
			st, err := calls.OpenStream(t.Context(), "echo", nil)
			require.NoError(t, err)
			done.Go(func() {
				for i := range each {
					if st.Send(numbered{N: i, Text: repeat("x", i%50)}) != nil {
						wrong.Add(1)
					}
				}
				_ = st.CloseSend()
			})
			done.Go(func() {
				pace := rand.New(rand.NewPCG(uint64(s), 1))
				for want := 0; ; want++ {
					for pace.IntN(4) == 0 {
						runtime.Gosched()
					}
					var got numbered
					switch err := st.Receive(&got); {
					case errors.Is(err, io.EOF) && want == each:
						return
					case err != nil || got.N != want || len(got.Text) != want%50:
						wrong.Add(1)
						return
					}
				}
			})
		}
		done.Wait()
		assert.Zero(t, wrong.Load())
		t.Logf("%d messages there and back: %s", streams*each, time.Since(begun).Round(time.Millisecond))
	})
}

// TestCancelReachesEveryHandler counts the contexts that end.
func TestCancelReachesEveryHandler(t *testing.T) {
	const streams = 500
	ended := make(chan time.Time, streams)
	hang := func(t *testing.T, b *server.Broker) {
		require.NoError(t, b.HandleStream(server.Description{Method: "hang", Result: server.KindAny}, func(_ json.RawMessage, st abstract.Stream) error {
			<-st.Context().Done()
			ended <- time.Now()
			return nil
		}))
	}
	onStreamRoads(t, hang, func(t *testing.T, b *server.Broker, calls *client.RpcClient) {
		var worst, sum time.Duration
		for range streams / 5 { // one at a time
			ctx, cancel := context.WithCancel(t.Context())
			_, err := calls.OpenStream(ctx, "hang", nil)
			require.NoError(t, err)
			begun := time.Now()
			cancel()
			took := (<-ended).Sub(begun)
			sum, worst = sum+took, max(worst, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		for range streams {
			_, err := calls.OpenStream(ctx, "hang", nil)
			require.NoError(t, err)
		}
		begun := time.Now()
		cancel()
		var last time.Time
		for range streams {
			last = <-ended
		}
		t.Logf("a cancel reaches its handler in %s, %s at most; %d together in %s", sum/(streams/5), worst, streams, last.Sub(begun))
		require.Eventually(t, func() bool { return b.Streams() == 0 }, patience, time.Millisecond)
	})
}

// TestStreamsInVirtualTime: deadlines end streams to the moment, at both sides.
func TestStreamsInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, server.WithLogger(quietLog()))
		defer s.stop()
		ended := make(chan time.Duration, 1)
		begun := time.Now()
		require.NoError(t, s.broker.HandleStream(server.Description{Method: "hang", Result: server.KindAny}, func(_ json.RawMessage, st abstract.Stream) error {
			<-st.Context().Done()
			ended <- time.Since(begun)
			return st.Context().Err()
		}))
		calls, err := client.DialRpc(t.Context(), "broker", client.WithTransport(s.network.Client), client.WithLogger(quietLog()))
		require.NoError(t, err)
		defer calls.Close()
		begun = time.Now()
		st, err := calls.OpenStream(t.Context(), "hang", nil, client.Timeout(90*time.Minute))
		require.NoError(t, err)
		require.ErrorIs(t, st.Receive(nil), abstract.ErrTimeout)
		assert.Equal(t, 90*time.Minute, time.Since(begun))
		assert.Equal(t, 90*time.Minute, <-ended)
		ctx, cancel := context.WithCancel(t.Context())
		st, err = calls.OpenStream(ctx, "hang", nil)
		require.NoError(t, err)
		time.AfterFunc(24*time.Hour, cancel) // far beyond every default
		require.ErrorIs(t, st.Receive(nil), abstract.ErrCancelled)
		<-ended
		assert.Equal(t, 90*time.Minute+24*time.Hour, time.Since(begun))
	})
}
