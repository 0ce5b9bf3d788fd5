package client_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/lv"
	"trefoil/concrete/mem"
	"trefoil/concrete/message"
)

// scripted is a broker of one method's providers that says what a test wants it to say.
type scripted struct {
	*testing.T
	net *mem.Network

	mu        sync.Mutex
	conn      abstract.BaseConnection // the last one
	requests  []*message.ServiceRequest
	hosts     []message.ProviderHost
	revision  uint64
	unchanged int
	// answer, unless nil, answers everything but discoveries.
	answer func(*message.ServiceRequest) *message.ServiceResponse
	hello  func(*message.HelloResponse) // changes what HELLO is answered with
	srv    abstract.BaseServer
	ended  chan error
}

func newScripted(t *testing.T) *scripted {
	b := &scripted{T: t, net: mem.NewNetwork()}
	t.Cleanup(b.stop)
	return b
}

func (b *scripted) start() {
	b.Helper()
	srv := b.net.Server("broker", abstract.TransportConfig{
		Protocol: lv.New(message.New(message.Config{}), lv.Config{}), Logger: quiet,
		OnOpen: func(bc abstract.BaseConnection) abstract.Receiver { return &scriptedPeer{b, bc} },
	})
	require.NoError(b, srv.Listen())
	b.srv, b.ended = srv, make(chan error, 1)
	go func() { b.ended <- srv.Serve() }()
}

func (b *scripted) stop() {
	if b.srv == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = b.srv.Shutdown(ctx)
	<-b.ended
	b.srv = nil
}

type scriptedPeer struct {
	b  *scripted
	bc abstract.BaseConnection
}

func (p *scriptedPeer) OnClose(error) {}

func (p *scriptedPeer) OnMessages(batch []abstract.BaseMessage) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	for _, m := range batch {
		switch m := m.(type) {
		case *message.Hello:
			p.b.conn = p.bc
			rsp := &message.HelloResponse{Header: message.ID(m.ID()), Version: message.ProtocolVersion, PingMs: 60_000, Misses: 5, MaxFrame: 8 << 20}
			if p.b.hello != nil {
				p.b.hello(rsp)
			}
			_ = p.bc.Send(rsp)
		case *message.Ping:
			_ = p.bc.Send(&message.Pong{Header: message.ID(m.ID())})
		case *message.ServiceRequest:
			p.b.requests = append(p.b.requests, m)
			_ = p.bc.Send(p.b.answerTo(m))
		}
	}
}

func (b *scripted) answerTo(m *message.ServiceRequest) *message.ServiceResponse {
	rsp := &message.ServiceResponse{}
	switch {
	case m.Op != abstract.ServiceDiscover:
		if b.answer != nil {
			rsp = b.answer(m)
		}
	case m.Revision != 0 && m.Revision == b.revision:
		rsp.Method, rsp.Revision, rsp.Unchanged = m.Method, b.revision, true
		b.unchanged++
	case len(b.hosts) == 0:
		rsp.Code, rsp.Revision = abstract.ServiceNotFound, b.revision
	default:
		rsp.Method, rsp.Revision, rsp.Hosts = m.Method, b.revision, b.hosts
	}
	rsp.Header, rsp.Op = message.ID(m.ID()), m.Op
	return rsp
}

// knows sets what discoveries are answered with.
func (b *scripted) knows(revision uint64, ports ...int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revision, b.hosts = revision, nil
	for _, p := range ports {
		b.hosts = append(b.hosts, message.ProviderHost{Host: abstract.Host{IP: "h", Port: p}, Hello: true})
	}
}

// notice tells of a provider.
func (b *scripted) notice(revision uint64, op abstract.ServiceOp, port int, traits abstract.Traits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.conn.Send(&message.ServiceRequest{Header: message.ID("n"), Op: op, Method: "m", Host: &abstract.Host{IP: "h", Port: port}, Hello: true, Revision: revision, Traits: traits})
}

// asked returns the requests so far that have an operation, and forgets all.
func (b *scripted) asked(op abstract.ServiceOp) (list []*message.ServiceRequest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.requests {
		if m.Op == op {
			list = append(list, m)
		}
	}
	b.requests = nil
	return list
}

func (b *scripted) options(opts []client.Option) []client.Option {
	return append(opts, client.WithTransport(b.net.Client), client.WithLogger(quiet))
}

func (b *scripted) dial(opts ...client.Option) *client.Conn {
	b.Helper()
	c, err := client.Dial(ctx, "broker", b.options(opts)...)
	require.NoError(b, err)
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func (b *scripted) open(opts ...client.Option) *client.Conn {
	c := client.Open("broker", b.options(opts)...)
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// seen is what a follower was told last.
type seen struct {
	mu    sync.Mutex
	last  abstract.Providers
	calls int
}

func follow(d *client.DiscoveryClient) *seen {
	s := &seen{}
	d.Follow("m", func(p abstract.Providers) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last, s.calls = p, s.calls+1
	})
	return s
}

func ports(list []abstract.Provider) []int {
	all := []int{}
	for _, p := range list {
		all = append(all, p.Host.Port)
	}
	return all
}

func (s *seen) list() []int { s.mu.Lock(); defer s.mu.Unlock(); return ports(s.last.List) }
func (s *seen) held() []int { s.mu.Lock(); defer s.mu.Unlock(); return ports(s.last.Held) }

// events is what callbacks were told.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, text)
}

func (e *events) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

// listen notes who comes and goes.
func (e *events) listen(d *client.DiscoveryClient) {
	d.OnOffline(func(p abstract.Provider) { e.add(fmt.Sprintf("-%d%s", p.Host.Port, p.Instance)) })
	d.OnOnline(func(p abstract.Provider) { e.add(fmt.Sprintf("+%d%s", p.Host.Port, p.Instance)) })
}

func TestMissedNoticeIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.knows(5, 1, 2)
		b.start()
		s := follow(client.NewDiscoveryClient(b.dial()))
		synctest.Wait()
		assert.Equal(t, []int{1, 2}, s.list())
		b.asked(abstract.ServiceDiscover)

		b.notice(6, abstract.ServiceOnline, 3, abstract.Traits{})
		b.notice(6, abstract.ServiceOnline, 3, abstract.Traits{})
		b.notice(4, abstract.ServiceOffline, 1, abstract.Traits{})
		synctest.Wait()
		assert.Equal(t, []int{1, 2, 3}, s.list(), "in order once, doubled and late not at all")
		assert.Empty(t, b.asked(abstract.ServiceDiscover))

		b.knows(9, 2, 3, 4, 5)
		b.notice(9, abstract.ServiceOnline, 5, abstract.Traits{})
		synctest.Wait()
		assert.Equal(t, []int{2, 3, 4, 5}, s.list())
		require.Len(t, b.asked(abstract.ServiceDiscover), 1)

		b.knows(9) // it has forgotten all
		b.notice(10, abstract.ServiceOffline, 5, abstract.Traits{})
		synctest.Wait()
		assert.Equal(t, []int{2, 3, 4}, s.list())
		assert.Empty(t, b.asked(abstract.ServiceDiscover))
	})
}

func TestRecheckFindsWhatNobodyHasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.knows(5, 1, 2)
		b.start()
		s := follow(client.NewDiscoveryClient(b.dial()))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		rechecks := b.asked(abstract.ServiceDiscover)[1:]
		assert.InDelta(t, 10, len(rechecks), 4, "about once a minute")
		assert.Equal(t, uint64(5), rechecks[0].Revision)
		assert.Equal(t, len(rechecks), b.unchanged)
		assert.Equal(t, 1, s.calls, "unchanged is nothing to tell")

		b.knows(6, 1, 2, 3)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.Equal(t, []int{1, 2, 3}, s.list())
	})
}

func TestRecheckCanBeOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.knows(5, 1)
		b.start()
		follow(client.NewDiscoveryClient(b.dial(client.WithRecheck(-1))))
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Len(t, b.asked(abstract.ServiceDiscover), 1)
	})
}

// A registry that forgets most providers at once is refused for a while, and everybody can see it.
func TestFallThatNobodyExplainsIsRefusedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.knows(5, 1, 2, 3)
		b.start()
		var problems, told events
		d := client.NewDiscoveryClient(b.dial(client.WithGrace(10*time.Second), client.WithRecheck(time.Minute), client.OnProblem(func(err error) { problems.add(err.Error()) })))
		told.listen(d)
		s := follow(d)
		synctest.Wait()

		b.knows(6)
		_, err := d.Discover(ctx, "m")
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, []int{1, 2, 3}, s.list())
		assert.Equal(t, []int{1, 2, 3}, s.held())
		assert.Equal(t, []int{1, 2, 3}, ports(d.Held("m")))
		require.Len(t, problems.all(), 1)
		assert.Contains(t, problems.all()[0], "refused: the broker suddenly knows nobody")

		b.notice(7, abstract.ServiceOffline, 2, abstract.Traits{})
		synctest.Wait()
		assert.Equal(t, []int{1, 3}, s.list(), "an explicit OFFLINE is believed at once")
		assert.Equal(t, []string{"-2"}, told.all())

		time.Sleep(11 * time.Second)
		synctest.Wait()
		assert.Empty(t, s.list())
		assert.Empty(t, d.Held("m"))
		assert.Equal(t, []string{"-2", "-1", "-3"}, told.all())

		b.knows(8, 1, 2)
		_, err = d.Discover(ctx, "m")
		require.NoError(t, err)
		b.knows(9)
		time.Sleep(2 * time.Minute) // rechecks
		synctest.Wait()
		assert.Len(t, problems.all(), 2, "told once")
		assert.Empty(t, s.list())
	})
}

// Who is held when the connection is lost once more is held for one more grace, not for
// good.
func TestHeldThroughAReconnectAreGivenUp(t *testing.T) {
	for name, cut := range map[string]time.Duration{"before the grace is over": 5 * time.Second, "when it is over": 10*time.Second - time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newScripted(t)
				b.knows(5, 1, 2)
				b.start()
				d := client.NewDiscoveryClient(b.dial(client.WithGrace(10*time.Second), client.WithRecheck(-1), client.WithBackoff(time.Second, time.Second)))
				s := follow(d)
				synctest.Wait()

				b.knows(6, 1)
				b.net.Cut()
				time.Sleep(2 * time.Second)
				synctest.Wait()
				assert.Equal(t, []int{2}, s.held())
				time.Sleep(cut - 2*time.Second)
				b.net.Cut()
				time.Sleep(3 * time.Second)
				synctest.Wait()
				assert.Equal(t, []int{2}, s.held())
				time.Sleep(10 * time.Second)
				synctest.Wait()
				assert.Equal(t, []int{1}, s.list())
				assert.Empty(t, d.Held("m"))
			})
		})
	}
}

func TestStateFlowsThroughAndIsNoOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.knows(5, 1)
		b.start()
		d := client.NewDiscoveryClient(b.dial())
		d.OnOffline(func(p abstract.Provider) { t.Errorf("%s has not gone", p.Host) })
		d.OnOnline(func(p abstract.Provider) { t.Errorf("%s has not come", p.Host) })
		s := follow(d)
		synctest.Wait()
		b.notice(6, abstract.ServiceOnline, 1, abstract.Traits{State: abstract.Retiring, Tags: "a,b"})
		synctest.Wait()
		assert.Equal(t, 2, s.calls)
		assert.Equal(t, abstract.Retiring, s.last.List[0].State)
		assert.True(t, s.last.List[0].Tags.Has("b"))
		assert.Empty(t, s.last.Online)
		assert.Empty(t, s.last.Offline)
	})
}

// Another process at the same address is another provider.
func TestAnotherInstanceAtTheSameHostIsAnotherProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.knows(5, 1)
		b.hosts[0].Instance = "old"
		b.start()
		d := client.NewDiscoveryClient(b.dial())
		var told events
		told.listen(d)
		follow(d)
		synctest.Wait()
		b.mu.Lock()
		_ = b.conn.Send(&message.ServiceRequest{Header: message.ID("n"), Op: abstract.ServiceOnline, Method: "m", Host: &abstract.Host{IP: "h", Port: 1}, Instance: "new", Revision: 6})
		b.mu.Unlock()
		synctest.Wait()
		assert.ElementsMatch(t, []string{"-1old", "+1new"}, told.all(), "two listeners have no order between them")
	})
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.start()
		d := client.NewDiscoveryClient(b.dial())
		p := abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: 1}, Instance: "i"}
		other := abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: 2}}
		var reporter abstract.Reporter = d
		for range 10 {
			reporter.Report(p, "connection refused")
			reporter.Report(other, "timeout")
		}
		synctest.Wait()
		got := b.asked(abstract.ServiceReport)
		require.Len(t, got, 2, "one of each host")
		assert.Equal(t, "connection refused", got[0].Reason)
		assert.Equal(t, "i", got[0].Instance)
		assert.Equal(t, p.Host, *got[0].Host)

		time.Sleep(time.Second)
		reporter.Report(p, string(make([]byte, 300))+"é")
		synctest.Wait()
		got = b.asked(abstract.ServiceReport)
		require.Len(t, got, 1)
		assert.LessOrEqual(t, len(got[0].Reason), 256)

		b.stop()
		time.Sleep(time.Minute)
		reporter.Report(p, "the broker is away") // which is no reason to wait
	})
}

func TestOpenConnectsInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.knows(1, 7)
		begun := time.Now()
		conn := b.open()
		assert.Zero(t, time.Since(begun))
		assert.False(t, conn.Connected())
		d := client.NewDiscoveryClient(conn)

		short, cancel := context.WithTimeout(ctx, time.Second)
		_, err := d.Discover(short, "m")
		cancel()
		assert.ErrorIs(t, err, abstract.ErrUnavailable)

		s := follow(d)
		waited := make(chan []abstract.Provider)
		go func() {
			list, err := d.WaitFor(ctx, "m")
			assert.NoError(t, err)
			waited <- list
		}()
		time.Sleep(time.Hour)
		assert.Zero(t, s.calls)
		b.start()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.True(t, conn.Connected())
		assert.Equal(t, []int{7}, s.list())
		assert.Equal(t, []int{7}, ports(<-waited))
	})
}

func TestOpenedConnCanBeClosedBeforeItIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		conn := b.open()
		d := client.NewDiscoveryClient(conn)
		got := make(chan error)
		go func() { _, err := d.Discover(ctx, "m"); got <- err }()
		synctest.Wait()
		require.NoError(t, conn.Close())
		assert.ErrorIs(t, <-got, abstract.ErrDisconnected)
	})
}

// Who is asked to stay away stays away, and comes back soon after.
func TestRetryAfterIsHonoured(t *testing.T) {
	for name, c := range map[string]struct{ asked, least, most time.Duration }{
		"asked for":          {20 * time.Second, 20 * time.Second, 26 * time.Second},
		"no more than this":  {time.Hour, 60 * time.Second, 61 * time.Second},
		"negative is no ask": {-time.Second, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newScripted(t)
				var hellos []time.Time
				b.hello = func(r *message.HelloResponse) {
					hellos = append(hellos, time.Now())
					if len(hellos) == 1 {
						r.Code, r.Message, r.RetryAfterMs = abstract.Overloaded, "too many at once", c.asked.Milliseconds()
					}
				}
				b.start()
				conn := b.open()
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				require.True(t, conn.Connected())
				assert.True(t, conn.Modern())
				require.Len(t, hellos, 2)
				assert.GreaterOrEqual(t, hellos[1].Sub(hellos[0]), c.least)
				assert.LessOrEqual(t, hellos[1].Sub(hellos[0]), c.most)
			})
		})
	}
}

func TestDialTellsWhenToTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScripted(t)
		b.hello = func(r *message.HelloResponse) {
			r.Code, r.Message, r.RetryAfterMs = abstract.Overloaded, "too many at once", 3000
		}
		b.start()
		_, err := client.Dial(ctx, "broker", b.options(nil)...)
		assert.ErrorIs(t, err, abstract.ErrOverloaded)
		assert.ErrorContains(t, err, "try again after 3s")
		assert.True(t, errorOf(t, err).FromPeer)
		assert.JSONEq(t, `{"retry_after_ms":3000}`, string(errorOf(t, err).Details))
	})
}

// askingConn counts the discoveries that go out over a connection.
type askingConn struct {
	abstract.BaseConnection
	asked *atomic.Int32
}

func (c askingConn) Queue(f abstract.Frame) error {
	if bytes.Contains(f.Bytes, []byte(`{"optype":1,`)) {
		c.asked.Add(1)
	}
	return c.BaseConnection.Queue(f)
}

// A broker's notices have no gaps, whatever it is told: nobody asks more than once.
func TestNoticesOfABrokerHaveNoGaps(t *testing.T) {
	inWorld(t, func(w *world) {
		w.broker()
		var asked atomic.Int32
		conn, err := client.Dial(ctx, "broker", client.WithLogger(quiet), client.WithRecheck(-1), client.WithTransport(func(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
			inner := cfg.OnOpen
			cfg.OnOpen = func(bc abstract.BaseConnection) abstract.Receiver { return inner(askingConn{bc, &asked}) }
			return w.net.Client(addr, cfg)
		}))
		require.NoError(w, err)
		defer conn.Close()
		s := follow(client.NewDiscoveryClient(conn))
		var conns []*client.Conn
		for range 4 {
			conns = append(conns, w.dial())
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 500 {
			i := rnd.IntN(len(conns))
			reg := client.NewRegistryClient(conns[i])
			p := abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: 1 + rnd.IntN(3)}, Instance: fmt.Sprint("i", i)}
			switch rnd.IntN(6) {
			case 0, 1:
				require.NoError(w, reg.Register(ctx, p))
			case 2:
				p.State = abstract.Retiring
				require.NoError(w, reg.Register(ctx, p))
			case 3:
				other := p
				other.Method = "n"
				require.NoError(w, reg.Register(ctx, p, other))
			case 4:
				require.NoError(w, reg.Unregister(ctx, p))
			default:
				require.NoError(w, conns[i].Close())
				conns[i] = w.dial()
			}
		}
		synctest.Wait()
		assert.EqualValues(w, 1, asked.Load())
		list, err := client.NewDiscoveryClient(w.dial()).Discover(ctx, "m")
		require.NoError(w, err)
		assert.ElementsMatch(w, list, s.last.List)
	})
}
