package server_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/business/session"
	"trefoil/client"
	"trefoil/concrete/message"
	"trefoil/server"
)

// wiretap is somebody between a client and its broker, who keeps what the client sends.
type wiretap struct {
	t        *testing.T
	listener net.Listener
	work     sync.WaitGroup

	mu    sync.Mutex
	sent  []*bytes.Buffer // by each connection
	conns []net.Conn
}

func tap(t *testing.T, broker net.Addr) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wiretap{t: t, listener: l}
	w.work.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", broker.String())
			if err != nil {
				_ = near.Close()
				return
			}
			w.mu.Lock()
			kept := new(bytes.Buffer)
			w.sent, w.conns = append(w.sent, kept), append(w.conns, near, far)
			w.mu.Unlock()
			w.work.Go(func() { w.copy(far, near, kept) })
			w.work.Go(func() { w.copy(near, far, nil) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.cut()
		w.work.Wait()
	})
	return w
}

func (w *wiretap) copy(to, from net.Conn, kept *bytes.Buffer) {
	defer to.Close()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if kept != nil {
			w.mu.Lock()
			kept.Write(b[:n])
			w.mu.Unlock()
		}
		if _, problem := to.Write(b[:n]); err != nil || problem != nil {
			return
		}
	}
}

// cut closes all connections.
func (w *wiretap) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
}

// recorded is what the client has sent over each connection.
func (w *wiretap) recorded() (all [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.sent {
		all = append(all, bytes.Clone(b.Bytes()))
	}
	return all
}

func dialTCP(t *testing.T, b *server.Broker) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", b.Addr().String())
	require.NoError(t, err)
	return nc
}

// TestRecordedHelloTakesNoSession sends all that a client has sent once more.
func TestRecordedHelloTakesNoSession(t *testing.T) {
	for _, heartbeats := range []bool{true, false} {
		t.Run(sprintf("heartbeats %t", heartbeats), func(t *testing.T) {
			var log lines
			guard, tokens := guardBy(t, policy, "all")
			b := serve(t, newBroker(server.WithLogger(log.logger()), server.WithGuard(guard)))
			w := tap(t, b.Addr())
			up := make(chan struct{}, 8)
			conn, err := client.Dial(t.Context(), w.listener.Addr().String(), patiently(client.WithToken(tokens["all"]), client.WithLogger(quietLog()),
				client.WithUDPHeartbeats(heartbeats), client.OnConnected(func() { up <- struct{}{} }))...)
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			<-up
			id := conn.SessionID()
			nodes := client.NewNodeClient(conn)
			_, err = nodes.Create(t.Context(), "/mine", nil, client.SessionNode())
			require.NoError(t, err)
			for range 2 {
				w.cut()
				<-up
				_, err = nodes.Exists(t.Context(), "/mine")
				require.NoError(t, err)
			}
			require.Equal(t, id, conn.SessionID())

			recorded := w.recorded()
			require.Len(t, recorded, 3)
			for i, bytes := range recorded {
				thief := newTalker(t, dialTCP(t, b))
				_, err := thief.nc.Write(bytes)
				require.NoError(t, err)
				f, ok := thief.next()
				require.True(t, ok)
				require.Equal(t, int32(17), f.mtype)
				if i == 0 { // it asks for a new session, and gets one
					assert.Zero(t, f.rcode())
					assert.NotContains(t, f.body, id)
					continue
				}
				assert.Equal(t, denied, f.rcode(), f.body)
				assert.NotContains(t, f.body, "secret")
				thief.closed()
			}
			assert.Equal(t, 2, strings.Count(log.text(), "session not given to who knows its secret"), log.text())
			ok, err := nodes.Exists(t.Context(), "/mine")
			require.NoError(t, err)
			assert.True(t, ok)
			assert.Empty(t, up, "its owner has noticed nothing")
			assert.Equal(t, id, conn.SessionID())
		})
	}
}

// grantOf is the session that a HELLO's response gives.
func grantOf(t *testing.T, f frame) (g message.SessionGrant, resumed bool) {
	t.Helper()
	m, ok := f.field("session").(map[string]any)
	require.True(t, ok, f.body)
	g.ID, g.Secret = m["id"].(string), m["secret"].(string)
	if port, ok := m["udp"].(float64); ok {
		g.UDP = int(port)
	}
	resumed, _ = m["resumed"].(bool)
	return g, resumed
}

func TestStolenSessionIsWorthNothing(t *testing.T) {
	for _, way := range roads() {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			policy, identities := oneByOne(t)
			guard, tokens := guardBy(t, policy, identities...)
			b, dial := way.open(t, server.WithGuard(guard), server.WithLogger(quietLog()))
			_ = b
			greet := func(who, session string) (*talker, frame) {
				p := newTalker(t, dial(who))
				said := `,"session":` + session
				if !way.byCertificate {
					said += sprintf(`,"token":%q`, tokens[who])
				}
				f := p.greet(said)
				return p, f
			}
			owner, f := greet("owner", "{}")
			g, _ := grantOf(t, f)
			require.Zero(t, owner.ask(32, `{"op":"create","path":"/mine","session":true}`).rcode())
			for name, secret := range map[string]string{
				"none": "", "zeros": strings.Repeat("0", 64), "its id": g.ID + g.ID, "nearly": flipped(g.Secret), "too long": g.Secret + "00", "upper case": strings.ToUpper(g.Secret) + " ",
			} {
				thief, f := greet("owner", sprintf(`{"id":%q,"secret":%q,"sequence":9}`, g.ID, secret))
				other, resumed := grantOf(t, f)
				assert.False(t, resumed, name)
				assert.NotEqual(t, g.ID, other.ID, name)
				assert.NotContains(t, f.body, g.Secret)
				require.Zero(t, thief.ask(32, `{"op":"sync"}`).rcode())
			}
			_, f = greet("not-call", sprintf(`{"id":%q,"secret":%q,"sequence":9}`, g.ID, g.Secret))
			assert.Equal(t, denied, f.rcode(), "somebody else who has its secret, too")
			assert.NotContains(t, f.body, "owner")
			assert.Zero(t, owner.ask(32, `{"op":"get","path":"/mine"}`).rcode(), "its owner has noticed nothing")
			_, f = greet("owner", sprintf(`{"id":%q,"secret":%q,"sequence":1}`, g.ID, g.Secret))
			_, resumed := grantOf(t, f)
			assert.True(t, resumed, "and can go on with it")
			f, ok := owner.next()
			require.True(t, ok)
			assert.Equal(t, int32(20), f.mtype, "over one connection")
			owner.closed()
		})
	}
}

func flipped(secret string) string {
	last := "0"
	if strings.HasSuffix(secret, "0") {
		last = "1"
	}
	return secret[:len(secret)-1] + last
}

// TestForeignHeartbeatsKeepNoSession sends, for a session whose owner is gone, every
// datagram that somebody has who does not know the secret. It expires all the same.
func TestForeignHeartbeatsKeepNoSession(t *testing.T) {
	var expired chan string
	var owner *talker
	var g message.SessionGrant
	for range 10 { // the port for datagrams, which is that of the connections, may be somebody else's
		expired = make(chan string, 4)
		b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithSessions(50*time.Millisecond, 3),
			server.WithOnSessionExpired(func(id string) { expired <- id })))
		owner = newTalker(t, dialTCP(t, b))
		if g, _ = grantOf(t, owner.greet(`,"session":{}`)); g.UDP != 0 {
			break
		}
	}
	require.NotZero(t, g.UDP)
	beater, err := session.NewBeater(&g, 0)
	require.NoError(t, err)
	recorded := [][]byte{beater.Append(nil), beater.Append(nil)}
	forger := g
	forger.Secret = flipped(g.Secret)
	forging, err := session.NewBeater(&forger, 100)
	require.NoError(t, err)

	nc, err := net.Dial("udp", net.JoinHostPort("127.0.0.1", sprintf("%d", g.UDP)))
	require.NoError(t, err)
	defer nc.Close()
	for _, d := range recorded {
		_, err := nc.Write(d)
		require.NoError(t, err)
	}
	_ = owner.nc.Close()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case id := <-expired:
			assert.Equal(t, g.ID, id)
			return
		case <-every.C:
			for _, d := range append(recorded, forging.Append(nil), recorded[1][:44], append(bytes.Clone(recorded[1]), 0)) {
				_, _ = nc.Write(d)
			}
		case <-deadline.C:
			require.FailNow(t, "the session is kept by who does not know its secret")
		}
	}
}

func TestHelloIsFirstAndOnce(t *testing.T) {
	guard, tokens := guardBy(t, policy, "all", "some")
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithGuard(guard)))
	hello := frame{16, "h", sprintf(`{"version":1,"max_frame":8388608,"token":%q}`, tokens["all"])}
	write := frame{32, "n", `{"op":"create","path":"/closed"}`}
	for name, before := range map[string][]frame{
		"twice":                    {{16, "h", sprintf(`{"version":1,"max_frame":8388608,"token":%q}`, tokens["some"])}},
		"twice, first without":     {{16, "h", `{"version":1,"max_frame":8388608}`}},
		"after an anonymous call":  {{0, "c", `{"method":"open.hello","parameters":{}}`}},
		"after a refused topic":    {{2, "t", `{"optype":0,"topic_key":"closed.t"}`}},
		"after a refused HELLO":    {{16, "h", `{"version":1,"max_frame":8388608,"token":"tfl_wrong"}`}},
		"after one of old version": {{16, "h", `{"version":0,"max_frame":8388608}`}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTalker(t, dialTCP(t, b))
			var all []byte
			for _, f := range append(before, hello, write) {
				all = append(all, f.bytes()...)
			}
			_, err := p.nc.Write(all)
			require.NoError(t, err)
			_, _ = p.next() // what is said to the first one
			for f, ok := p.next(); ok; f, ok = p.next() {
				require.Equal(t, int32(20), f.mtype, "%+v", f)
			}
		})
	}
	looker := newTalker(t, dialTCP(t, b)).hello(tokens["all"])
	f := looker.ask(32, `{"op":"exists","path":"/closed"}`)
	assert.Nil(t, f.field("exists"), f.body)
}
