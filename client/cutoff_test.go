package client_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/server"
)

// patient is how clients are where time is real: a machine that stands still for a moment
// makes nothing fail.
func patient(opts ...client.Option) []client.Option {
	const wait = 2 * time.Minute
	return append([]client.Option{client.WithLogger(quiet), client.WithTimeout(wait), client.WithConnectTimeout(wait), client.WithHelloTimeout(wait)}, opts...)
}

// overTCP starts a broker on a free port of this machine.
func overTCP(t *testing.T, opts ...server.Option) string {
	t.Helper()
	broker := server.NewBroker("127.0.0.1:0", append([]server.Option{server.WithLogger(quiet), server.WithPing(time.Minute, 5)}, opts...)...)
	require.NoError(t, broker.Listen())
	ended := make(chan error, 1)
	go func() { ended <- broker.Serve() }()
	t.Cleanup(func() {
		assert.NoError(t, broker.Shutdown(ctx))
		assert.NoError(t, <-ended)
	})
	return broker.Addr().String()
}

func dialTCP(t *testing.T, addr string, opts ...client.Option) *client.Conn {
	t.Helper()
	c, err := client.Dial(ctx, addr, patient(opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// proxy passes bytes on to a server until it is cut, and then takes nobody until it
// is healed.
type proxy struct {
	listener net.Listener
	to       string
	ended    sync.WaitGroup

	mu    sync.Mutex
	off   bool
	conns map[net.Conn]struct{}
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, to: to, conns: make(map[net.Conn]struct{})}
	p.ended.Go(p.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		p.ended.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		if p.off {
			_, _ = in.Close(), out.Close()
		} else {
			p.conns[in], p.conns[out] = struct{}{}, struct{}{}
			p.ended.Go(func() { p.pass(in, out) })
			p.ended.Go(func() { p.pass(out, in) })
		}
		p.mu.Unlock()
	}
}

// pass copies in small pieces, so that a cut falls anywhere in a frame.
func (p *proxy) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	for b := make([]byte, 1021); ; {
		n, err := from.Read(b)
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = false
}

// eventually is closed, by a cache's onChange, when a mark has arrived in it.
func eventually(path, data string) (func([]client.NodeChange), <-chan struct{}) {
	there := make(chan struct{})
	var once sync.Once
	return func(changes []client.NodeChange) {
		for _, c := range changes {
			if c.Path == path && string(c.Node.Data) == data {
				once.Do(func() { close(there) })
			}
		}
	}, there
}

// A watcher that is cut off at a random moment of some thousand changes, and for a
// random number of them, ends with exactly the state of one that stayed. TREFOIL_LONG=1
// does it 1,000 times with 10,000 changes.
func TestWatcherCutOffEndsWithTheSameState(t *testing.T) {
	addr := overTCP(t)
	p := newProxy(t, addr)
	writer := client.NewNodeClient(dialTCP(t, addr))
	stayed := client.NewNodeClient(dialTCP(t, addr))
	cutOff := client.NewNodeClient(dialTCP(t, p.addr(), client.WithBackoff(time.Millisecond, 5*time.Millisecond)))
	const writers = 8
	changes := rounds(1_000, 10_000)
	resyncs, cuts := 0, 0
	n := rounds(20, 1000)
	for round := range n {
		r := rand.New(rand.NewPCG(uint64(round), 2))
		top := fmt.Sprintf("/r%d", round)
		create(t, writer, top, "")
		onStayed, first := eventually(top, "end")
		onCutOff, second := eventually(top, "end")
		a, err := stayed.Cache(ctx, top, onStayed)
		require.NoError(t, err)
		b, err := cutOff.Cache(ctx, top, onCutOff)
		require.NoError(t, err)
		direct := watch(t, cutOff, top, client.ScopeSubtree)

		from := r.IntN(changes)
		until := from + r.IntN(changes-from)
		var mu sync.Mutex
		done := 0
		step := func() {
			mu.Lock()
			defer mu.Unlock()
			if done++; done == from+1 {
				p.cut()
				cuts++
			}
			if done == until+1 {
				p.heal()
			}
		}
		var all sync.WaitGroup
		for k := range writers {
			s := rand.New(rand.NewPCG(uint64(round), uint64(k)))
			all.Go(func() {
				for range changes / writers {
					change(t, writer, fmt.Sprintf("%s/w%d", top, k), s)
					step()
				}
			})
		}
		all.Wait()
		p.heal()
		_, err = writer.Set(ctx, top, []byte("end"))
		require.NoError(t, err)
		<-first
		<-second
		want := treeOf(t, writer, top)
		require.Equal(t, want, contents(a), "round %d, who stayed", round)
		require.Equal(t, want, contents(b), "round %d, cut off from %d to %d", round, from, until)
		for last := int64(0); last < a.Revision(); {
			e := next(t, direct)
			require.Greater(t, e.Revision, last, "in order")
			if last = e.Revision; e.Resync {
				resyncs++
			}
		}
		require.NoError(t, direct.Close(ctx))
		require.NoError(t, a.Close(ctx))
		require.NoError(t, b.Close(ctx))
		require.NoError(t, writer.Delete(ctx, top, client.Recursive()))
	}
	t.Logf("%d rounds of %d changes, %d cuts, no difference; %d times the watch was told to read again", n, changes, cuts, resyncs)
}

// change makes one change below a path.
func change(t *testing.T, n *client.NodeClient, top string, r *rand.Rand) {
	path := fmt.Sprintf("%s/%d", top, r.IntN(50))
	data := fmt.Appendf(nil, "%d", r.Int64())
	var err error
	switch r.IntN(4) {
	case 0:
		err = n.Delete(ctx, path)
	case 1:
		_, err = n.Create(ctx, path, data, client.MakeParents())
	default:
		if _, err = n.Set(ctx, path, data); abstract.CodeOf(err) == abstract.NotFound {
			_, err = n.Create(ctx, path, data, client.MakeParents())
		}
	}
	if code := abstract.CodeOf(err); code != abstract.OK && code != abstract.NotFound && code != abstract.Exists {
		assert.NoError(t, err)
	}
}

// While the connection is cut datagrams keep the session, and without them it ends:
// two clients are cut off together, and the one without outlives nothing.
func TestHeartbeatDatagramsKeepASessionWithoutAConnection(t *testing.T) {
	t.Parallel()
	addr := overTCP(t, server.WithSessions(time.Second, 5))
	p := newProxy(t, addr)
	// the proxy passes no datagrams, but they go to its host, which is the broker's
	observer := client.NewNodeClient(dialTCP(t, addr))
	lost := make(chan string, 10)
	conn := dialTCP(t, p.addr(), client.OnSessionExpired(func(id string) { lost <- id }), client.WithBackoff(time.Millisecond, 5*time.Millisecond))
	create(t, client.NewNodeClient(conn), "/kept", "", client.SessionNode())
	id := conn.SessionID()
	for i := range 2 { // each of these takes a whole timeout
		silent := newProxy(t, addr)
		mute := dialTCP(t, silent.addr(), client.WithUDPHeartbeats(false))
		path := fmt.Sprintf("/mute%d", i)
		create(t, client.NewNodeClient(mute), path, "", client.SessionNode())
		gone := watch(t, observer, path, client.ScopeNode)
		p.cut()
		silent.cut()
		assert.Equal(t, []string{"-" + path}, paths(next(t, gone)))
		there, err := observer.Exists(ctx, "/kept")
		require.NoError(t, err)
		require.True(t, there)
	}
	p.heal()
	_, err := client.NewNodeClient(conn).Sync(ctx)
	require.NoError(t, err)
	assert.Equal(t, id, conn.SessionID())
	assert.Empty(t, lost)
	// and once more, with the sequence of before
	gone := watch(t, observer, "/kept", client.ScopeNode)
	mute := dialTCP(t, p.addr(), client.WithUDPHeartbeats(false))
	create(t, client.NewNodeClient(mute), "/mute", "", client.SessionNode())
	also := watch(t, observer, "/mute", client.ScopeNode)
	p.cut()
	assert.Equal(t, []string{"-/mute"}, paths(next(t, also)))
	there, err := observer.Exists(ctx, "/kept")
	require.NoError(t, err)
	require.True(t, there)
	require.NoError(t, conn.Close()) // no goodbye arrives, and no datagram any more
	assert.Equal(t, []string{"-/kept"}, paths(next(t, gone)))
}
