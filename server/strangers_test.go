package server_test

import (
	"context"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/client"
	"trefoil/concrete/message"
	"trefoil/concrete/stdnet"
	"trefoil/server"
)

// guest is a client that does what a client does, while others do what they do.
func guest(t *testing.T, b *server.Broker, opts ...client.Option) func() {
	t.Helper()
	conn, err := client.Dial(t.Context(), b.Addr().String(), append(patiently(opts...), client.WithLogger(quietLog()))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return func() {
		t.Helper()
		require.NoError(t, client.NewDirectRpcClient(conn).Call(t.Context(), "open.hello", nil, nil))
	}
}

func greeting(t *testing.T, b *server.Broker) {
	t.Helper()
	require.NoError(t, b.HandleFunc(server.Description{Method: "open.hello", Result: server.KindAny}, echo))
}

// TestStrangersWhoSayNothingAreClosed: with no first message, with a part of one, and
// with one that comes byte by byte.
func TestStrangersWhoSayNothingAreClosed(t *testing.T) {
	guard, tokens := guardBy(t, policy, "all")
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithGuard(guard)))
	greeting(t, b)
	works := guest(t, b, client.WithToken(tokens["all"]))
	b.SetLimits(server.Limits{FrameTimeout: 300 * time.Millisecond}) // now that the guest has said hello
	hello := frame{16, "h", `{"version":1,"max_frame":8388608}`}.bytes()
	var all []net.Conn
	for range 60 {
		silent, half, slow := dialTCP(t, b), dialTCP(t, b), dialTCP(t, b)
		_, err := half.Write(hello[:len(hello)-1])
		require.NoError(t, err)
		all = append(all, silent, half, slow)
	}
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, nc := range all {
			var one [1]byte
			_, err := nc.Read(one[:])
			assert.Error(t, err, "nothing is said to who has not said HELLO")
		}
	}()
	patient := time.NewTimer(patience)
	defer patient.Stop()
	for i := 0; ; {
		select {
		case <-ended:
			works()
			return
		case <-every.C:
			for j := 2; j < len(all); j += 3 {
				_, _ = all[j].Write(hello[i : i+1])
			}
			i = min(i+1, len(hello)-2) // it never comes to the end
			works()
		case <-patient.C:
			require.FailNow(t, "strangers hold their connections")
		}
	}
}

// TestHandshakesThatNeverEndAreBounded opens many more connections than there are
// places for handshakes, and says nothing.
func TestHandshakesThatNeverEndAreBounded(t *testing.T) {
	ca := newAuthority(t)
	cfg := stdnet.TLSConfig{MaxHandshakes: 16}
	cfg.CertFile, cfg.KeyFile = ca.issue("broker", time.Time{})
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithTLS(newTLS(t, cfg))))
	greeting(t, b)
	before := runtime.NumGoroutine()
	for range 64 {
		nc := dialTCP(t, b)
		t.Cleanup(func() { _ = nc.Close() })
	}
	works := guest(t, b, client.WithTLS(newTLS(t, stdnet.TLSConfig{RootCAFile: ca.file})))
	works()
	assert.Less(t, runtime.NumGoroutine()-before, 16+24, "one for each place at most, and some of the guest")
}

// TestHugeTokensAreRefused sends HELLOs that are nearly all token.
func TestHugeTokensAreRefused(t *testing.T) {
	guard, tokens := guardBy(t, policy, "all")
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithGuard(guard)))
	greeting(t, b)
	works := guest(t, b, client.WithToken(tokens["all"]))
	before := heapMiB()
	body := `{"version":1,"max_frame":8388608,"token":"tfl_` + strings.Repeat("x", 7<<20) + `"}`
	for range 6 {
		p := newTalker(t, dialTCP(t, b))
		p.write(frame{16, "h", body})
		f, ok := p.next()
		require.True(t, ok)
		assert.NotZero(t, f.rcode())
		assert.Less(t, len(f.body), 1024)
		p.closed()
	}
	works()
	assert.Less(t, heapMiB()-before, 64)
}

// TestRefusedRequestsCostLittle floods a broker with what it refuses.
func TestRefusedRequestsCostLittle(t *testing.T) {
	var log lines
	guard, tokens := guardBy(t, policy, "all", "some")
	b := serve(t, newBroker(server.WithLogger(log.logger()), server.WithGuard(guard)))
	greeting(t, b)
	works := guest(t, b, client.WithToken(tokens["all"]))
	before := heapMiB()
	const rounds, batch = 40, 100
	p := newTalker(t, dialTCP(t, b)).hello(tokens["some"])
	for i := range rounds {
		var all []byte
		for j := range batch {
			all = append(all, frame{4, "r", sprintf(`{"optype":0,"method":"closed.%d","methods":["open.a"],"host":{"ip":"h","port":1}}`, i*batch+j)}.bytes()...)
		}
		_, err := p.nc.Write(all)
		require.NoError(t, err)
		for range batch {
			f, ok := p.next()
			require.True(t, ok)
			require.Equal(t, denied, f.rcode())
		}
		if i%10 == 0 {
			works()
		}
	}
	works()
	assert.Less(t, heapMiB()-before, 32)
	require.Eventually(t, func() bool { return strings.Contains(log.text(), "the permission is missing") }, patience, time.Millisecond)
	assert.Less(t, strings.Count(log.text(), "the permission is missing"), rounds, "not one for each")
	assert.Contains(t, log.text(), "identity=some")
}

// TestCancelReachesNobodyElsesCall: ids are each caller's own.
func TestCancelReachesNobodyElsesCall(t *testing.T) {
	guard, tokens := guardBy(t, policy, "all", "some")
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithGuard(guard)))
	began, finish := make(chan context.Context, 1), make(chan struct{})
	require.NoError(t, b.HandleFunc(server.Description{Method: "open.slow", Result: server.KindAny}, func(ctx context.Context, _ message.Raw) (any, error) {
		began <- ctx
		<-finish
		return "done", ctx.Err()
	}))
	owner, thief := newTalker(t, dialTCP(t, b)).hello(tokens["all"]), newTalker(t, dialTCP(t, b)).hello(tokens["some"])
	owner.write(frame{0, "mine", `{"method":"open.slow","parameters":{}}`})
	ctx := <-began
	thief.write(frame{23, "mine", `{}`})
	require.Zero(t, thief.ask(32, `{"op":"sync"}`).rcode(), "it has been looked at")
	assert.NoError(t, ctx.Err())
	close(finish)
	f, ok := owner.next()
	require.True(t, ok)
	assert.Zero(t, f.rcode(), f.body)
}
