package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/server"
)

func quietLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func heapMiB() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc >> 20)
}

// A discovery whose answer is too long for the peer is answered all the same.
func TestDiscoveryThatIsTooLongIsAnswered(t *testing.T) {
	b := broker(t)
	reg := dialRaw(t, b.Addr()).hello()
	const hosts = 1000
	for i := range hosts {
		reg.send(frame{4, fmt.Sprint(i), fmt.Sprintf(`{"optype":0,"method":"m","host":{"ip":%q,"port":%d}}`, strings.Repeat("a", 200), i+1)})
		require.Equal(t, 0, reg.expect().rcode())
	}
	for name, asker := range map[string]*raw{"legacy": dialRaw(t, b.Addr()), "modern with max_frame 1024": dialRaw(t, b.Addr())} {
		if name != "legacy" {
			asker.send(frame{16, "h", `{"version":1,"agent":"test","max_frame":1024}`})
			require.Equal(t, int32(17), asker.expect().mtype)
		}
		asker.send(frame{4, "d", `{"optype":1,"method":"m"}`})
		assert.Equal(t, "d", asker.expect().id, name)
	}
}

// TestWaitingCallsAreBoundedInBytes: few large calls that wait for a handler are as
// many as a connection may have.
func TestWaitingCallsAreBoundedInBytes(t *testing.T) {
	release := make(chan struct{})
	srv := server.NewRpcServer("127.0.0.1:0", server.WithHandlers(1, 1000), server.WithMaxInbound(4<<20))
	require.NoError(t, srv.HandleFunc(server.Description{Method: "wait", Result: "any"}, func(context.Context, json.RawMessage) (any, error) {
		<-release
		return 1, nil
	}))
	require.NoError(t, srv.Listen())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	p := dialRaw(t, srv.Addr()).hello()
	body := `{"method":"wait","parameters":{"junk":"` + strings.Repeat("x", 1<<20) + `"}}`
	const calls = 8
	for range calls {
		p.send(frame{0, "c", body})
	}
	refused := 0
	for range calls - 3 { // three fit beside the one that runs
		if p.expect().rcode() == 20 {
			refused++
		}
	}
	assert.Equal(t, calls-3, refused)
	close(release)
	for range 3 {
		assert.Zero(t, p.expect().rcode())
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, srv.Shutdown(ctx))
	require.NoError(t, <-ended)
}

// What waits for a subscriber that reads nothing is bounded in memory, not only in what its frames count.
func TestWaitingPushesDoNotKeepWhatCameBesideThem(t *testing.T) {
	b := newBroker(server.WithLogger(quietLog()))
	b = serve(t, b)
	pub := dialRaw(t, b.Addr())
	pub.send(frame{2, "c", `{"optype":0,"topic_key":"t"}`})
	require.Equal(t, 0, pub.expect().rcode())
	sub := dialRaw(t, b.Addr()).hello()
	sub.send(frame{2, "s", `{"optype":2,"topic_key":"t"}`})
	require.Equal(t, 0, sub.expectNot(18).rcode())
	// fill its socket and what the kernel holds
	filler := frame{2, "f", fmt.Sprintf(`{"optype":4,"topic_key":"t","topic_msg":%q}`, strings.Repeat("a", 60<<10))}
	for range 200 {
		pub.send(filler)
		require.Equal(t, 0, pub.expect().rcode())
	}
	before := heapMiB()
	small := frame{2, "m", `{"optype":4,"topic_key":"t","topic_msg":"x"}`}
	junk := frame{2, "j", fmt.Sprintf(`{"optype":4,"topic_key":"nosuch","topic_msg":%q}`, strings.Repeat("a", 62<<10))}
	const rounds = 3000
	for range rounds {
		pub.send(small, junk)
		pub.expect()
		pub.expect()
	}
	grown := heapMiB() - before
	t.Logf("%d waiting messages of %d bytes: heap grew by %d MiB", rounds, len(small.bytes()), grown)
	assert.Less(t, grown, 20, "MiB for a queue whose limit is 1 MiB")
}
