//go:build unix

package zookeeper

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/registrytest"
)

// patience is far longer than anything takes that is waited for.
const patience = time.Minute

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// plain is a client of ZooKeeper as the source system's programs are.
func (w *world) plain(t testing.TB) *zk.Conn {
	c, events, err := zk.Connect([]string{w.addr}, patience, zk.WithLogger(logger{slog.New(slog.DiscardHandler)}), zk.WithLogInfo(false))
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Close()
		for range events {
		}
	})
	return c
}

func (w *world) opened(t testing.TB, cfg Config) lined {
	if len(cfg.Servers) == 0 {
		cfg.Servers = []string{w.addr}
	}
	r := open(t, cfg)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

func provider(method string, port int) abstract.Provider {
	return abstract.Provider{Method: method, Host: abstract.Host{IP: "10.0.0.1", Port: port}, Instance: fmt.Sprintf("i%d", port), Hello: true}
}

// follower notes what it is told.
type follower struct {
	t    testing.TB
	told chan abstract.Providers
	gone []abstract.Provider
}

func follow(t testing.TB, r abstract.Discovery, method string) *follower {
	f := &follower{t: t, told: make(chan abstract.Providers, 1000)}
	t.Cleanup(r.Follow(method, func(p abstract.Providers) { f.told <- p }))
	return f
}

func (f *follower) until(what string, ok func([]abstract.Provider) bool) {
	f.t.Helper()
	late := time.After(patience)
	for {
		select {
		case p := <-f.told:
			f.gone = append(f.gone, p.Offline...)
			if p.Err == nil && ok(p.List) {
				return
			}
		case <-late:
			require.FailNow(f.t, "never seen: "+what)
		}
	}
}

func (f *follower) untilPorts(want ...int) {
	f.t.Helper()
	f.until(fmt.Sprintf("ports %v", want), func(list []abstract.Provider) bool {
		var have []int
		for _, p := range list {
			have = append(have, p.Host.Port)
		}
		slices.Sort(have)
		return slices.Equal(have, want)
	})
}

// untilData waits until a node says something else; "" is no node.
func untilData(t testing.TB, c *zk.Conn, path, want string) {
	t.Helper()
	late := time.After(patience)
	for {
		there, _, changed, err := c.ExistsW(path)
		require.NoError(t, err)
		have := ""
		if there {
			data, stat, err := c.Get(path)
			if err == nil {
				assert.NotZero(t, stat.EphemeralOwner, "it goes with its provider")
				have = string(data)
			}
		}
		if have == want {
			return
		}
		select {
		case <-changed:
		case <-late:
			require.FailNowf(t, "never seen", "%s is %q and not %q", path, have, want)
		}
	}
}

func TestProgramsThatOnlyReadThePlaceFindALiveProvider(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.plain(t)
	const method, place = "UserServiceRpc.Login", "/UserServiceRpc/Login"
	first, second := open(t, Config{Servers: []string{w.addr}}), w.opened(t, Config{})

	require.NoError(t, first.Register(within(t), provider(method, 1)))
	untilData(t, c, place, "10.0.0.1:1")
	_, stat, err := c.Get("/UserServiceRpc")
	require.NoError(t, err)
	assert.Zero(t, stat.EphemeralOwner, "the service stays")
	require.NoError(t, second.Register(within(t), provider(method, 2), provider(method, 3)))
	untilData(t, c, place, "10.0.0.1:1")

	first.cable.cut() // as kill -9: its session ends
	untilData(t, c, place, "10.0.0.1:2")
	require.NoError(t, first.Close())

	_, _, changed, err := c.GetW(place)
	require.NoError(t, err)
	require.NoError(t, second.Unregister(within(t), provider(method, 2)))
	assert.Equal(t, zk.EventNodeDataChanged, (<-changed).Type, "it was never away")
	untilData(t, c, place, "10.0.0.1:3")

	retiring := provider(method, 3)
	retiring.State = abstract.Retiring
	require.NoError(t, second.Register(within(t), retiring))
	untilData(t, c, place, "")
	require.NoError(t, second.Register(within(t), provider(method, 3)))
	untilData(t, c, place, "10.0.0.1:3")
	require.NoError(t, c.Delete(place, -1))
	untilData(t, c, place, "10.0.0.1:3")
}

func TestProvidersThatOnlyWriteThePlaceAreFound(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := w.opened(t, Config{})
	const method, place = "FriendServiceRpc.GetFriendList", "/FriendServiceRpc/GetFriendList"
	f := follow(t, r, method)
	f.untilPorts()
	old := w.plain(t)
	_, err := old.Create("/FriendServiceRpc", nil, 0, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	_, err = old.Create(place, []byte("10.0.0.9:8000"), zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	f.until("the existing program", func(list []abstract.Provider) bool {
		return len(list) == 1 && list[0] == abstract.Provider{Method: method, Host: abstract.Host{IP: "10.0.0.9", Port: 8000}}
	})
	require.NoError(t, r.Register(within(t), provider(method, 1)))
	f.untilPorts(1, 8000)
	untilData(t, old, place, "10.0.0.9:8000")
	require.NoError(t, old.Delete(place, -1))
	f.untilPorts(1)
	untilData(t, w.plain(t), place, "10.0.0.1:1")
}

// The server is stopped for longer than sessions live, and when its clients reach it again
// it has ended every session.
func TestExpiredSessionsAreReplaced(t *testing.T) {
	t.Parallel()
	w := start(t)
	var registrars []lined
	var followers []*follower
	proxy := registrytest.NewProxy(t, w.addr)
	c := w.plain(t)
	for i := range 3 {
		r := w.opened(t, Config{Servers: []string{proxy.Addr()}})
		require.NoError(t, r.Register(within(t), provider("a.get", i+1)))
		registrars = append(registrars, r)
		followers = append(followers, follow(t, r, "a.get"))
	}
	for _, f := range followers {
		f.untilPorts(1, 2, 3)
	}
	var before []int64
	for _, r := range registrars {
		before = append(before, r.own.conn.SessionID())
	}
	w.Stop(t)
	<-time.After(sessionTimeout) // this long a pause is what is tested
	proxy.Away(true)             // it would else go on with sessions whose clients are quick
	w.Continue(t)
	for port := 1; port <= 3; port++ {
		untilData(t, c, fmt.Sprintf("/a/get@10.0.0.1:%d", port), "")
	}
	proxy.Away(false)
	for i, r := range registrars {
		require.NoError(t, r.Register(within(t), provider("a.get", 10+i)))
	}
	for i, f := range followers {
		f.untilPorts(1, 2, 3, 10, 11, 12)
		assert.Empty(t, f.gone, "nobody has gone")
		assert.NotEqual(t, before[i], registrars[i].own.conn.SessionID(), "the session had ended, or nothing was tested")
	}
	late := w.opened(t, Config{})
	follow(t, late, "a.get").untilPorts(1, 2, 3, 10, 11, 12)
}

// The server is killed, stays away for longer than sessions live, and comes back with its
// data.
func TestKilledServerLosesNobody(t *testing.T) {
	t.Parallel()
	w := start(t)
	r, other := w.opened(t, Config{}), w.opened(t, Config{})
	require.NoError(t, r.Register(within(t), provider("a.get", 1), provider("a.get", 2)))
	f := follow(t, other, "a.get")
	f.untilPorts(1, 2)
	w.Kill()
	short, cancel := context.WithTimeout(context.Background(), 2*sessionTimeout)
	defer cancel()
	require.ErrorIs(t, r.Unregister(short, provider("a.get", 1)), abstract.ErrTimeout)
	short, cancel = context.WithTimeout(context.Background(), sessionTimeout/10)
	defer cancel()
	require.ErrorIs(t, r.Register(short, provider("a.get", 3)), abstract.ErrTimeout)
	list, err := other.Discover(within(t), "a.get")
	require.NoError(t, err)
	assert.Len(t, list, 2, "the last list stays")
	w.Run(t)
	f.untilPorts(2, 3)
	for _, p := range f.gone {
		assert.Equal(t, 1, p.Host.Port, "the others were never gone")
	}
	follow(t, w.opened(t, Config{}), "a.get").untilPorts(2, 3)
}

func TestMoreThanAMegabyteOfProviders(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.plain(t)
	const many, each = 7000, 100
	method := strings.Repeat("x", 200)
	_, err := c.Create("/big", nil, 0, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	for i := 0; i < many; i += each {
		var ops []any
		for port := i + 1; port <= i+each; port++ {
			ops = append(ops, &zk.CreateRequest{Path: fmt.Sprintf("/big/%s@10.0.0.1:%d", method, port), Acl: zk.WorldACL(zk.PermAll), Flags: zk.FlagEphemeral})
		}
		_, err := c.Multi(ops...)
		require.NoError(t, err)
	}
	r := w.opened(t, Config{})
	f := follow(t, r, "big."+method)
	f.until("all", func(list []abstract.Provider) bool { return len(list) == many })
	require.NoError(t, r.Register(within(t), provider("big."+method, many+1)))
	f.until("one more", func(list []abstract.Provider) bool { return len(list) == many+1 })
	require.NoError(t, c.Delete(fmt.Sprintf("/big/%s@10.0.0.1:7", method), -1))
	f.until("one less", func(list []abstract.Provider) bool { return len(list) == many })
}

func TestWhatTheACLForbidsIsDenied(t *testing.T) {
	t.Parallel()
	w := start(t)
	admin := w.plain(t)
	require.NoError(t, admin.AddAuth("digest", []byte("admin:secret")))
	_, err := admin.Create("/closed", nil, 0, zk.DigestACL(zk.PermAll, "admin", "secret"))
	require.NoError(t, err)
	_, err = admin.Create("/closed/svc", nil, 0, zk.DigestACL(zk.PermAll, "admin", "secret"))
	require.NoError(t, err)

	stranger := w.opened(t, Config{Root: "/closed"})
	err = stranger.Register(within(t), provider("svc.get", 1))
	require.ErrorIs(t, err, abstract.ErrDenied)
	_, err = stranger.Discover(within(t), "svc.get")
	require.ErrorIs(t, err, abstract.ErrDenied)
	require.NoError(t, stranger.Unregister(within(t), provider("svc.get", 1)), "what was refused is not registered")

	known := w.opened(t, Config{Root: "/closed", Username: "admin", Password: "secret"})
	require.NoError(t, known.Register(within(t), provider("svc.get", 1), provider("new.get", 2)))
	follow(t, known, "svc.get").untilPorts(1)
	follow(t, stranger, "new.get").untilPorts(2) // what it makes can be read
	require.ErrorIs(t, stranger.Register(within(t), provider("new.get", 3)), abstract.ErrDenied, "and not be changed")
	w.Kill()
	w.Run(t) // who it is, is said again
	require.NoError(t, known.Register(within(t), provider("svc.get", 4)))
}

func TestCloseDoesNotWaitForAServerThatIsAway(t *testing.T) {
	t.Parallel()
	w := start(t)
	proxy := registrytest.NewProxy(t, w.addr)
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	defer deaf.Close()
	for name, c := range map[string]struct {
		addr  string
		spoil func(away bool)
	}{
		"nobody listens":       {"127.0.0.1:1", nil},
		"nobody answers":       {deaf.Addr().String(), nil},
		"it went away":         {proxy.Addr(), proxy.Away},
		"it stopped answering": {proxy.Addr(), proxy.Dam},
		"it is there":          {w.addr, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, Config{Servers: []string{c.addr}})
			stop := r.Follow("a.get", func(abstract.Providers) {})
			if c.spoil != nil {
				require.NoError(t, r.Register(within(t), provider("a.get", 1)))
				c.spoil(true)
				defer c.spoil(false)
			}
			short, cancel := context.WithTimeout(context.Background(), sessionTimeout/10)
			defer cancel()
			_ = r.Register(short, provider("a.get", 2))
			closed := make(chan error, 1)
			go func() { closed <- r.Close() }()
			select {
			case err := <-closed:
				require.NoError(t, err)
			case <-time.After(patience):
				require.FailNow(t, "Close hangs")
			}
			stop()
			require.ErrorIs(t, r.Register(within(t), provider("a.get", 2)), abstract.ErrDisconnected)
		})
	}
}

// A process that is in the way of another at the same address, and comes back after a cut,
// does not take what the other one has registered since.
func TestWhoCameLaterKeepsTheAddress(t *testing.T) {
	t.Parallel()
	w := start(t)
	proxy := registrytest.NewProxy(t, w.addr)
	early, late := w.opened(t, Config{Servers: []string{proxy.Addr()}}), w.opened(t, Config{})
	p, q := provider("a.get", 1), provider("a.get", 1)
	p.Instance, q.Instance = "early", "late"
	require.NoError(t, early.Register(within(t), p))
	require.NoError(t, late.Register(within(t), q))
	isLate := func(list []abstract.Provider) bool { return len(list) == 1 && list[0].Instance == "late" }
	f := follow(t, late, "a.get")
	f.until("the later one", isLate)

	c := w.plain(t)
	var place *zk.Stat
	for place == nil || place.EphemeralOwner != late.own.conn.SessionID() {
		_, stat, err := c.Get("/a/get")
		require.NoError(t, err)
		place = stat
	}
	for range 100 {
		require.NoError(t, early.Register(within(t), provider("b.get", 2)))
		_, stat, err := c.Get("/a/get")
		require.NoError(t, err)
		require.Equal(t, place.Czxid, stat.Czxid, "they do not take it from each other again and again")
	}

	session := early.own.conn.SessionID()
	proxy.Away(true)
	<-time.After(2 * sessionTimeout) // so long that its session ends
	proxy.Away(false)
	require.NoError(t, early.Register(within(t), provider("b.get", 2)))
	require.NotEqual(t, session, early.own.conn.SessionID(), "its session had ended, or nothing was tested")
	require.ErrorIs(t, early.Register(within(t), p), abstract.ErrExists)
	data, _, err := c.Get("/a/get@10.0.0.1:1")
	require.NoError(t, err)
	assert.Contains(t, string(data), "late")

	require.NoError(t, late.Unregister(within(t), q)) // now the address is free
	f.until("the early one", func(list []abstract.Provider) bool { return len(list) == 1 && list[0].Instance == "early" })
}

func TestWhatSomebodyRemovesComesBack(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := w.opened(t, Config{Root: "/deep/down"})
	require.NoError(t, r.Register(within(t), provider("a.get", 1)))
	f := follow(t, r, "a.get")
	f.untilPorts(1)
	c := w.plain(t)
	require.NoError(t, c.Delete("/deep/down/a/get@10.0.0.1:1", -1))
	f.until("the node again", func(list []abstract.Provider) bool { return len(list) == 1 && list[0].Instance == "i1" })
}

func TestGreetedGivesUpOnWhoSaysNothing(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	g := &greeted{Conn: near, patience: time.Millisecond}
	require.NoError(t, g.SetReadDeadline(time.Now().Add(time.Hour)))
	_, err := g.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "it did not wait for an hour")
}

func TestConfigsThatAreNone(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no servers":              {},
		"an empty server":         {Servers: []string{""}},
		"a root without a slash":  {Servers: []string{"h:1"}, Root: "trefoil"},
		"a root that is no path":  {Servers: []string{"h:1"}, Root: "/a//b"},
		"a root that leads up":    {Servers: []string{"h:1"}, Root: "/a/../b"},
		"a password without name": {Servers: []string{"h:1"}, Password: "x"},
	} {
		_, err := New(cfg)
		require.ErrorIs(t, err, abstract.ErrInvalidParams, name)
	}
}

// The server stands behind something that speaks TLS for it.
func TestTLS(t *testing.T) {
	t.Parallel()
	w := start(t)
	cert, pool := certificate(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	require.NoError(t, err)
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			ended.Go(func() { join(c, w.addr) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); ended.Wait() })
	r := w.opened(t, Config{Servers: []string{l.Addr().String()}, TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}})
	require.NoError(t, r.Register(within(t), provider("a.get", 1)))
	follow(t, r, "a.get").untilPorts(1)
	follow(t, w.opened(t, Config{}), "a.get").untilPorts(1)
	wary := w.opened(t, Config{Servers: []string{l.Addr().String()}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}) // it does not know who signed
	short, cancel := context.WithTimeout(context.Background(), sessionTimeout)
	defer cancel()
	require.ErrorIs(t, wary.Register(short, provider("a.get", 2)), abstract.ErrTimeout)
}

// join passes bytes between a connection and a server until one of them ends.
func join(c net.Conn, addr string) {
	defer c.Close()
	s, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer s.Close()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(s, c); _ = s.Close() })
	both.Go(func() { _, _ = io.Copy(c, s); _ = c.Close() })
	both.Wait()
}

func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
