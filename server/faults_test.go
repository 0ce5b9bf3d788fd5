package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/server"
)

// publishUntilFull publishes large messages until a subscriber that does not read
// must have lost some: more than its queue and the sockets' buffers hold.
const (
	bigMessage = 32 << 10
	manyBig    = 1500
)

func TestModernSubscriberThatStopsReadingIsToldWhatItLost(t *testing.T) {
	b := broker(t, server.WithSubscriberQueue(256<<10), server.WithWriteTimeout(time.Hour))
	slow, healthy, publisher := dialRaw(t, b.Addr()).hello(), dialRaw(t, b.Addr()).hello(), dialRaw(t, b.Addr()).hello()
	publisher.send(frame{2, "c", `{"optype":0,"topic_key":"t"}`})
	publisher.expect()
	for _, s := range []*raw{slow, healthy} {
		s.send(frame{2, "s", `{"optype":2,"topic_key":"t"}`})
		s.expect()
	}
	text := strings.Repeat("x", bigMessage)
	for i := range manyBig {
		publisher.send(frame{2, sprintf("%d", i), sprintf(`{"optype":4,"topic_key":"t","topic_msg":[%d,%q]}`, i, text)})
		f := publisher.expect()
		require.Equal(t, 0, f.rcode(), "the publisher does not notice")
		f = healthy.expect()
		for f.mtype == 18 { // a ping
			f = healthy.expect()
		}
		require.Equal(t, sprintf("%d", i), f.id, "nor do other subscribers")
	}
	seen, missed, next := 0, 0, 0
	for seen+missed < manyBig {
		f := slow.expect()
		switch f.mtype {
		case 22:
			n := int(f.field("missed").(float64))
			assert.Positive(t, n)
			missed += n
			next += n
		case 2:
			require.Equal(t, sprintf("%d", next), f.id, "order is kept, and the gap is where the notice stands")
			seen++
			next++
		}
	}
	assert.Positive(t, missed)
	assert.Equal(t, manyBig, seen+missed)
}

func TestLegacySubscriberThatStopsReadingIsClosed(t *testing.T) {
	b := broker(t, server.WithSubscriberQueue(256<<10))
	slow, publisher := dialRaw(t, b.Addr()), dialRaw(t, b.Addr())
	publisher.send(frame{2, "c", `{"optype":0,"topic_key":"t"}`})
	publisher.expect()
	slow.send(frame{2, "s", `{"optype":2,"topic_key":"t"}`})
	slow.expect()
	text := strings.Repeat("x", bigMessage)
	for range manyBig {
		publisher.send(frame{2, "p", sprintf(`{"optype":4,"topic_key":"t","topic_msg":%q}`, text)})
		require.Equal(t, 0, publisher.expect().rcode())
	}
	for {
		f, err := slow.read()
		if err != nil {
			break
		}
		require.Contains(t, []int32{2, 3}, f.mtype, "and gets nothing that it does not know")
	}
}

func TestPeerThatNeverReadsItsAnswersIsClosed(t *testing.T) {
	b := broker(t, server.WithMaxQueued(1<<20))
	peer := dialRaw(t, b.Addr())
	call := frame{0, "1", sprintf(`{"method":"Echo","parameters":{"content":%q}}`, strings.Repeat("x", 60_000))}.bytes()
	require.NoError(t, peer.SetWriteDeadline(time.Now().Add(patience)))
	var err error
	for err == nil {
		_, err = peer.Write(call)
	}
	var timeout net.Error
	if assert.Error(t, err) {
		assert.False(t, assert.ObjectsAreEqual(true, errorsAs(err, &timeout) && timeout.Timeout()), "closed, not left waiting")
	}
}

func errorsAs(err error, target *net.Error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // net.Conn returns it unwrapped
	*target = e
	return ok
}

func TestFrameThatNeverEndsIsClosed(t *testing.T) {
	b := broker(t, server.WithFrameTimeout(200*time.Millisecond))
	peer := dialRaw(t, b.Addr())
	call := frame{0, "1", `{"method":"Add","parameters":{"num1":1,"num2":2}}`}.bytes()
	_, err := peer.Write(call[:20])
	require.NoError(t, err)
	peer.expectClosed()
	idle := dialRaw(t, b.Addr())
	idle.silent()
	b2 := dialRaw(t, b.Addr())
	b2.silent()
	idle.silent() // a connection between frames may be as slow as it likes
}

func TestSlowHandlerDelaysNobody(t *testing.T) {
	b := newBroker()
	methods(t, b)
	release := make(chan struct{})
	require.NoError(t, b.HandleFunc(server.Description{Method: "slow", Result: "any"}, func(ctx context.Context, _ json.RawMessage) (any, error) {
		<-release
		return 1, nil
	}))
	serve(t, b)
	peer, other := dialRaw(t, b.Addr()), dialRaw(t, b.Addr())
	for i := range 100 {
		peer.send(frame{0, sprintf("slow%d", i), `{"method":"slow","parameters":{}}`})
	}
	for _, p := range []*raw{peer, other} {
		p.send(frame{0, "fast", `{"method":"Add","parameters":{"num1":1,"num2":2}}`})
		assert.Equal(t, "fast", p.expect().id)
		p.silent()
	}
	close(release)
	for range 100 {
		assert.Equal(t, 0, peer.expect().rcode())
	}
}

// TestOrderIsKeptWhenHandlersHoldUpTheTurn lets every other message of one batch
// be a call that blocks, each of another method: the rest of the batch is handled
// in order all the same, by one goroutine after the other.
func TestOrderIsKeptWhenHandlersHoldUpTheTurn(t *testing.T) {
	b := newBroker()
	const n = 20
	release := make(chan struct{})
	for i := range n {
		require.NoError(t, b.HandleFunc(server.Description{Method: sprintf("slow%d", i), Result: "any"}, func(context.Context, json.RawMessage) (any, error) {
			<-release
			return i, nil
		}))
	}
	methods(t, b)
	serve(t, b)
	subscriber, peer := dialRaw(t, b.Addr()).hello(), dialRaw(t, b.Addr()).hello()
	subscriber.send(frame{2, "c", `{"optype":0,"topic_key":"t"}`}, frame{2, "s", `{"optype":2,"topic_key":"t"}`})
	subscriber.expect()
	subscriber.expect()
	var batch []frame
	for i := range n {
		batch = append(batch,
			frame{0, sprintf("slow%d", i), sprintf(`{"method":"slow%d","parameters":{}}`, i)},
			frame{0, sprintf("fast%d", i), `{"method":"Add","parameters":{"num1":1,"num2":2}}`},
			frame{2, sprintf("p%d", i), sprintf(`{"optype":4,"topic_key":"t","topic_msg":%d}`, i)})
	}
	peer.send(batch...)
	for i := range n {
		assert.Equal(t, float64(i), subscriber.expectNot(18).field("topic_msg"))
	}
	for range 2 * n { // the fast calls and the publishes
		f := peer.expectNot(18)
		assert.NotContains(t, f.id, "slow")
	}
	close(release)
	answered := map[string]bool{}
	for range n {
		f := peer.expectNot(18)
		assert.Equal(t, 0, f.rcode())
		answered[f.id] = true
	}
	assert.Len(t, answered, n)
	peer.send(frame{0, "after", `{"method":"Add","parameters":{"num1":1,"num2":2}}`})
	assert.Equal(t, "after", peer.expectNot(18).id, "the connection goes on as before")
}

func TestTooManyCallsAreAnsweredOverloaded(t *testing.T) {
	b := newBroker(server.WithHandlers(2, 3))
	release := make(chan struct{})
	require.NoError(t, b.HandleFunc(server.Description{Method: "slow", Result: "any"}, func(context.Context, json.RawMessage) (any, error) {
		<-release
		return nil, nil
	}))
	serve(t, b)
	modern, legacy := dialRaw(t, b.Addr()).hello(), dialRaw(t, b.Addr())
	for range 6 { // 2 run and 3 wait
		modern.send(frame{0, "x", `{"method":"slow","parameters":{}}`})
	}
	assert.Equal(t, 20, modern.expect().rcode())
	legacy.send(frame{0, "x", `{"method":"slow","parameters":{}}`})
	assert.Equal(t, 9, legacy.expect().rcode(), "the nearest code that an existing program knows")
	close(release)
	for range 5 {
		assert.Equal(t, 0, modern.expect().rcode())
	}
}

func TestHelloRules(t *testing.T) {
	b := broker(t, server.WithPing(time.Second, 3), server.WithMaxFrame(1<<20))
	t.Run("the server says its limits", func(t *testing.T) {
		p := dialRaw(t, b.Addr())
		p.send(frame{16, "h", `{"version":1,"agent":"x","max_frame":4096,"unknown":[]}`})
		f := p.expect()
		assert.Equal(t, int32(17), f.mtype)
		assert.Equal(t, 1000.0, f.field("ping_ms"))
		assert.Equal(t, 3.0, f.field("misses"))
		assert.Equal(t, float64(1<<20), f.field("max_frame"))
		p.send(frame{0, "1", sprintf(`{"method":"Echo","parameters":{"content":%q}}`, strings.Repeat("x", 8000))})
		assert.Equal(t, 23, p.expect().rcode(), "an answer above what the peer takes becomes one that says so")
	})
	t.Run("a later version is answered with ours", func(t *testing.T) {
		p := dialRaw(t, b.Addr())
		p.send(frame{16, "h", `{"version":7}`})
		f := p.expect()
		assert.Equal(t, 0, f.rcode())
		assert.Equal(t, 1.0, f.field("version"))
	})
	for name, body := range map[string]string{"no version": `{}`, "version 0": `{"version":0}`, "version a string": `{"version":"1"}`, "max_frame too small": `{"version":1,"max_frame":10}`} {
		t.Run(name, func(t *testing.T) {
			p := dialRaw(t, b.Addr())
			p.send(frame{16, "h", body})
			assert.NotEqual(t, 0, p.expect().rcode())
			p.expectClosed()
		})
	}
	t.Run("HELLO twice", func(t *testing.T) {
		p := dialRaw(t, b.Addr()).hello()
		p.send(frame{16, "h", `{"version":1}`})
		assert.Equal(t, int32(20), p.expect().mtype, "a modern peer is told why")
		p.expectClosed()
	})
	t.Run("HELLO after something else", func(t *testing.T) {
		p := dialRaw(t, b.Addr())
		p.silent()
		p.send(frame{16, "h", `{"version":1}`})
		p.expectClosed()
	})
	t.Run("an unknown type is answered, not closed", func(t *testing.T) {
		p := dialRaw(t, b.Addr()).hello()
		p.send(frame{4000, "u", `{"x":1}`})
		f := p.expect()
		assert.Equal(t, frame{21, "u", f.body}, f)
		assert.Equal(t, 25, f.rcode())
		assert.Equal(t, 4000.0, f.field("mtype"))
		p.silent()
	})
	t.Run("PING is answered", func(t *testing.T) {
		p := dialRaw(t, b.Addr()).hello()
		p.send(frame{18, "p1", `{}`})
		assert.Equal(t, frame{19, "p1", "{}"}, p.expect())
	})
}

func TestSilentPeerIsPingedAndGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, server.WithPing(50*time.Millisecond, 3), server.WithLogger(quietLog()))
		defer s.stop()
		p, legacy := rawOver(t, s.network, "broker").hello(), rawOver(t, s.network, "broker")
		begun, pings := time.Now(), 0
		for {
			f, err := p.readAny()
			if err != nil {
				break
			}
			if f.mtype == 18 {
				pings++
			}
		}
		assert.Equal(t, 2, pings)
		assert.Less(t, time.Since(begun), time.Second)
		legacy.silent()
	})
}

func TestServerSaysGoodbyeAndFinishesCalls(t *testing.T) {
	b := newBroker()
	started, release := make(chan struct{}), make(chan struct{})
	require.NoError(t, b.HandleFunc(server.Description{Method: "slow", Result: "any"}, func(context.Context, json.RawMessage) (any, error) {
		close(started)
		<-release
		return 7, nil
	}))
	require.NoError(t, b.Listen())
	ended := make(chan error, 1)
	go func() { ended <- b.Serve() }()
	p, legacy := dialRaw(t, b.Addr()).hello(), dialRaw(t, b.Addr())
	legacy.silent()
	p.send(frame{0, "1", `{"method":"slow","parameters":{}}`})
	<-started
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- b.Shutdown(ctx)
	}()
	for { // until it drains
		p.send(frame{0, "2", `{"method":"nosuch","parameters":{}}`})
		if p.expect().rcode() == 19 {
			break
		}
	}
	close(release)
	last := []frame{p.expect(), p.expect()}
	if last[0].mtype == 20 { // it is of a higher class, and may overtake the response
		last[0], last[1] = last[1], last[0]
	}
	assert.Equal(t, 7.0, last[0].field("result"), "what was under way is finished")
	assert.Equal(t, int32(20), last[1].mtype)
	p.expectClosed()
	legacy.expectClosed()
	require.NoError(t, <-stopped)
	require.NoError(t, <-ended)
}

// TestOnlineAndOfflineAreNeverReversed lets many connections register and leave
// at once; what a discoverer sees of each host must alternate.
func TestOnlineAndOfflineAreNeverReversed(t *testing.T) {
	b := broker(t)
	watcher := dialRaw(t, b.Addr())
	watcher.send(frame{4, "d", `{"optype":1,"method":"m"}`})
	watcher.expect()
	const hosts, rounds = 8, 25
	var providers sync.WaitGroup
	for h := range hosts {
		providers.Go(func() {
			for range rounds {
				p := dialRaw(t, b.Addr()).hello()
				host := sprintf(`{"method":"m","optype":%%d,"host":{"ip":"127.0.0.1","port":%d}}`, h+1)
				p.send(frame{4, "r", sprintf(host, 0)})
				p.expect()
				p.send(frame{4, "u", sprintf(host, 3)})
				p.expect()
				p.Close()
			}
		})
	}
	providers.Wait()
	online := map[float64]bool{}
	for range 2 * hosts * rounds {
		f := watcher.expect()
		port := f.field("host").(map[string]any)["port"].(float64)
		up := f.field("optype") == 2.0
		require.NotEqual(t, online[port], up, "host %v told twice: %s", port, f.body)
		online[port] = up
	}
	for port, up := range online {
		assert.False(t, up, "%v", port)
	}
}

// TestNothingThatIsSentKillsTheBroker throws random and half-right bytes at it.
func TestNothingThatIsSentKillsTheBroker(t *testing.T) {
	b := broker(t)
	rng := rand.New(rand.NewPCG(1, 2))
	bodies := []string{`{}`, `{"method":"Add","parameters":{"num1":1,"num2":2}}`, `{"optype":2,"topic_key":"t"}`, `[`, `{"a":"\ud800"}`, `{"optype":1,"method":"m"}`, `{"version":1}`, strings.Repeat("[", 3000), "\x00", ``}
	for range 300 {
		p := dialRaw(t, b.Addr())
		var out []byte
		for range rng.IntN(5) + 1 {
			f := frame{int32(rng.IntN(26) - 1), string(make([]byte, rng.IntN(40))), bodies[rng.IntN(len(bodies))]}.bytes()
			for range rng.IntN(3) { // and spoil it
				f[rng.IntN(len(f))] = byte(rng.Uint32())
			}
			out = append(out, f...)
		}
		_, _ = p.Write(out[:rng.IntN(len(out))+1])
		if rng.IntN(2) == 0 {
			p.Close()
		}
	}
	witness := dialRaw(t, b.Addr())
	witness.send(frame{0, "w", `{"method":"Add","parameters":{"num1":1,"num2":2}}`})
	assert.Equal(t, 3.0, witness.expect().field("result"))
}

// TestAnnouncedSizeCostsNothing: what a header promises is not allocated.
func TestAnnouncedSizeCostsNothing(t *testing.T) {
	b := broker(t)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const n = 200
	for range n {
		p := dialRaw(t, b.Addr())
		head := binary.BigEndian.AppendUint32(nil, 8<<20-4)
		_, err := p.Write(append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(head, 0), 2), "id{"...))
		require.NoError(t, err)
	}
	witness := dialRaw(t, b.Addr())
	witness.silent()
	assert.Less(t, heap(), before+64<<20, "200 frames of 8 MiB were announced")
}

func TestBadStreamIsLoggedOnce(t *testing.T) {
	var log lockedBuffer
	b := broker(t, server.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	p := dialRaw(t, b.Addr())
	_, err := p.Write([]byte("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"))
	require.NoError(t, err)
	p.expectClosed()
	witness := dialRaw(t, b.Addr())
	witness.silent()
	require.NoError(t, b.Shutdown(context.Background()))
	assert.Equal(t, 1, strings.Count(log.String(), "HTTP"))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestServersOfOneRoleRefuseTheOthers(t *testing.T) {
	rpc := server.NewRpcServer("127.0.0.1:0")
	methods(t, rpc)
	serve(t, rpc)
	p := dialRaw(t, rpc.Addr())
	p.send(frame{0, "1", `{"method":"Add","parameters":{"num1":1,"num2":2}}`})
	assert.Equal(t, 0, p.expect().rcode())
	p.send(frame{2, "2", `{"optype":0,"topic_key":"t"}`})
	assert.Equal(t, int(abstract.WrongMessageType), p.expect().rcode())
	p.send(frame{4, "3", `{"optype":1,"method":"m"}`})
	assert.Equal(t, int(abstract.WrongMessageType), p.expect().rcode())

	topics := serve(t, server.NewTopicServer("127.0.0.1:0"))
	p = dialRaw(t, topics.Addr())
	p.send(frame{0, "1", `{"method":"Add","parameters":{}}`})
	assert.Equal(t, int(abstract.WrongMessageType), p.expect().rcode())
	p.send(frame{2, "2", `{"optype":0,"topic_key":"t"}`})
	assert.Equal(t, 0, p.expect().rcode())

	registry := serve(t, server.NewRegistryServer("127.0.0.1:0"))
	p = dialRaw(t, registry.Addr())
	p.send(frame{4, "3", `{"optype":0,"method":"m","host":{"ip":"127.0.0.1","port":1}}`})
	assert.Equal(t, 0, p.expect().rcode())
}
