package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/server"
)

func TestFrameTimeoutChangesForConnectionsThatAreThere(t *testing.T) {
	b := broker(t, server.WithFrameTimeout(time.Hour))
	peer := dialRaw(t, b.Addr())
	_, err := peer.Write(frame{0, "1", `{"method":"Add","parameters":{"num1":1,"num2":2}}`}.bytes()[:20])
	require.NoError(t, err)
	b.SetLimits(server.Limits{FrameTimeout: 50 * time.Millisecond})
	peer.expectClosed()
}

func TestCallsPerConnChangesForLaterCalls(t *testing.T) {
	b := newBroker(server.WithHandlers(8, 8))
	entered, release := make(chan struct{}), make(chan struct{})
	require.NoError(t, b.HandleFunc(server.Description{Method: "slow", Result: "any"}, func(context.Context, json.RawMessage) (any, error) {
		entered <- struct{}{}
		<-release
		return 1, nil
	}))
	serve(t, b)
	peer := dialRaw(t, b.Addr()).hello()
	for _, id := range []string{"1", "2"} {
		peer.send(frame{0, id, `{"method":"slow","parameters":{}}`})
		<-entered
	}
	b.SetLimits(server.Limits{CallsPerConn: 2})
	b.SetLimits(server.Limits{FrameTimeout: time.Minute}) // what is zero stays
	peer.send(frame{0, "3", `{"method":"slow","parameters":{}}`})
	const ping = 18
	f := peer.expectNot(ping)
	assert.Equal(t, "3", f.id)
	assert.Equal(t, 20, f.rcode())
	close(release) // those that ran go on
	for range 2 {
		assert.Equal(t, 0, peer.expectNot(ping).rcode())
	}
}

// areasSeen is a handler that notes the area of every line.
type areasSeen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (a *areasSeen) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.Write(p)
}

func TestEveryLogLineHasAKnownArea(t *testing.T) {
	out := &areasSeen{}
	b := newBroker(server.WithLogger(slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	require.NoError(t, server.Handle(b, "panics", func(context.Context, struct{}) (int, error) { panic("planted") }))
	require.NoError(t, b.Listen())
	served := make(chan error, 1)
	go func() { served <- b.Serve() }()
	peer := dialRaw(t, b.Addr())
	peer.send(frame{0, "1", `{"method":"panics","parameters":{}}`})
	peer.expect()
	peer.send(frame{99, "1", `{}`})
	_, err := peer.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	for err == nil {
		_, err = peer.read()
	}
	require.NoError(t, b.Shutdown(t.Context()))
	require.NoError(t, <-served)
	seen := map[string]bool{}
	out.mu.Lock()
	defer out.mu.Unlock()
	for line := range bytes.Lines(out.text.Bytes()) {
		var record struct{ Area, Msg string }
		require.NoError(t, json.Unmarshal(line, &record))
		assert.True(t, slices.Contains(server.LogAreas[:], record.Area), "%s", line)
		seen[record.Area] = true
	}
	assert.Equal(t, map[string]bool{"server": true, "conn": true, "rpc": true}, seen)
}
