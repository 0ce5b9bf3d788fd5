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
const patience = 2 * time.Minute

// plain is a client of ZooKeeper as the source system's programs are.
func (w *world) plain(t testing.TB) *zk.Conn {
	// The library would wait for minutes for a server that was killed while it greeted it.
	lines := &wires{under: net.DialTimeout, patience: 20 * time.Second}
	c, events, err := zk.Connect([]string{w.addr}, patience, zk.WithDialer(lines.dial), zk.WithLogger(logger{slog.New(slog.DiscardHandler)}), zk.WithLogInfo(false))
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Close()
		lines.close()
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

	require.NoError(t, first.Register(registrytest.Within(t), registrytest.Provider(method, 1)))
	untilData(t, c, place, "10.0.0.1:1")
	_, stat, err := c.Get("/UserServiceRpc")
	require.NoError(t, err)
	assert.Zero(t, stat.EphemeralOwner, "the service stays")
	require.NoError(t, second.Register(registrytest.Within(t), registrytest.Provider(method, 2), registrytest.Provider(method, 3)))
	untilData(t, c, place, "10.0.0.1:1")

	first.cable.cut() // as kill -9: its session ends
	untilData(t, c, place, "10.0.0.1:2")
	require.NoError(t, first.Close())

	_, _, changed, err := c.GetW(place)
	require.NoError(t, err)
	require.NoError(t, second.Unregister(registrytest.Within(t), registrytest.Provider(method, 2)))
	assert.Equal(t, zk.EventNodeDataChanged, (<-changed).Type, "it was never away")
	untilData(t, c, place, "10.0.0.1:3")

	retiring := registrytest.Provider(method, 3)
	retiring.State = abstract.Retiring
	require.NoError(t, second.Register(registrytest.Within(t), retiring))
	untilData(t, c, place, "")
	require.NoError(t, second.Register(registrytest.Within(t), registrytest.Provider(method, 3)))
	untilData(t, c, place, "10.0.0.1:3")
	require.NoError(t, c.Delete(place, -1))
	untilData(t, c, place, "10.0.0.1:3")
}

func TestProvidersThatOnlyWriteThePlaceAreFound(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := w.opened(t, Config{})
	const method, place = "FriendServiceRpc.GetFriendList", "/FriendServiceRpc/GetFriendList"
	f := registrytest.Follow(t, r, method)
	f.UntilPorts()
	old := w.plain(t)
	_, err := old.Create("/FriendServiceRpc", nil, 0, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	_, err = old.Create(place, []byte("10.0.0.9:8000"), zk.FlagEphemeral, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	f.Until("the existing program", func(p abstract.Providers) bool {
		return len(p.List) == 1 && p.List[0] == abstract.Provider{Method: method, Host: abstract.Host{IP: "10.0.0.9", Port: 8000}}
	})
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider(method, 1)))
	f.UntilPorts(1, 8000)
	untilData(t, old, place, "10.0.0.9:8000")
	require.NoError(t, old.Delete(place, -1))
	f.UntilPorts(1)
	untilData(t, w.plain(t), place, "10.0.0.1:1")
}

// The server is stopped for longer than sessions live, and when its clients reach it again
// it has ended every session.
func TestExpiredSessionsAreReplaced(t *testing.T) {
	t.Parallel()
	w := start(t)
	var registrars []lined
	var followers []*registrytest.Follower
	proxy := registrytest.NewProxy(t, w.addr)
	c := w.plain(t)
	for i := range 3 {
		r := w.opened(t, Config{Servers: []string{proxy.Addr()}})
		require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", i+1)))
		registrars = append(registrars, r)
		followers = append(followers, registrytest.Follow(t, r, "a.get"))
	}
	for _, f := range followers {
		f.UntilPorts(1, 2, 3)
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
		require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 10+i)))
	}
	for i, f := range followers {
		f.UntilPorts(1, 2, 3, 10, 11, 12)
		assert.Empty(t, f.Gone(), "nobody has gone")
		assert.NotEqual(t, before[i], registrars[i].own.conn.SessionID(), "the session had ended, or nothing was tested")
	}
	late := w.opened(t, Config{})
	registrytest.Follow(t, late, "a.get").UntilPorts(1, 2, 3, 10, 11, 12)
}

// The server is killed, stays away for longer than sessions live, and comes back with its
// data.
func TestKilledServerLosesNobody(t *testing.T) {
	t.Parallel()
	w := start(t)
	registrytest.Killed(t, func() abstract.Registry { return w.opened(t, Config{}) }, w.Kill, func() { w.Run(t) }, sessionTimeout)
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
	f := registrytest.Follow(t, r, "big."+method)
	f.Until("all", func(p abstract.Providers) bool { return len(p.List) == many })
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("big."+method, many+1)))
	f.Until("one more", func(p abstract.Providers) bool { return len(p.List) == many+1 })
	require.NoError(t, c.Delete(fmt.Sprintf("/big/%s@10.0.0.1:7", method), -1))
	f.Until("one less", func(p abstract.Providers) bool { return len(p.List) == many })
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
	err = stranger.Register(registrytest.Within(t), registrytest.Provider("svc.get", 1))
	require.ErrorIs(t, err, abstract.ErrDenied)
	_, err = stranger.Discover(registrytest.Within(t), "svc.get")
	require.ErrorIs(t, err, abstract.ErrDenied)
	require.NoError(t, stranger.Unregister(registrytest.Within(t), registrytest.Provider("svc.get", 1)), "what was refused is not registered")

	known := w.opened(t, Config{Root: "/closed", Username: "admin", Password: "secret"})
	require.NoError(t, known.Register(registrytest.Within(t), registrytest.Provider("svc.get", 1), registrytest.Provider("new.get", 2)))
	registrytest.Follow(t, known, "svc.get").UntilPorts(1)
	registrytest.Follow(t, stranger, "new.get").UntilPorts(2) // what it makes can be read
	require.ErrorIs(t, stranger.Register(registrytest.Within(t), registrytest.Provider("new.get", 3)), abstract.ErrDenied, "and not be changed")
	w.Kill()
	w.Run(t) // who it is, is said again
	require.NoError(t, known.Register(registrytest.Within(t), registrytest.Provider("svc.get", 4)))
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
			registrytest.CloseReturns(t, open(t, Config{Servers: []string{c.addr}}), c.spoil, sessionTimeout/10)
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
	p, q := registrytest.Provider("a.get", 1), registrytest.Provider("a.get", 1)
	p.Instance, q.Instance = "early", "late"
	require.NoError(t, early.Register(registrytest.Within(t), p))
	require.NoError(t, late.Register(registrytest.Within(t), q))
	isLate := func(p abstract.Providers) bool { return len(p.List) == 1 && p.List[0].Instance == "late" }
	f := registrytest.Follow(t, late, "a.get")
	f.Until("the later one", isLate)

	c := w.plain(t)
	var place *zk.Stat
	for place == nil || place.EphemeralOwner != late.own.conn.SessionID() {
		_, stat, err := c.Get("/a/get")
		require.NoError(t, err)
		place = stat
	}
	for range 100 {
		require.NoError(t, early.Register(registrytest.Within(t), registrytest.Provider("b.get", 2)))
		_, stat, err := c.Get("/a/get")
		require.NoError(t, err)
		require.Equal(t, place.Czxid, stat.Czxid, "they do not take it from each other again and again")
	}

	session := early.own.conn.SessionID()
	proxy.Away(true)
	<-time.After(2 * sessionTimeout) // so long that its session ends
	proxy.Away(false)
	require.NoError(t, early.Register(registrytest.Within(t), registrytest.Provider("b.get", 2)))
	require.NotEqual(t, session, early.own.conn.SessionID(), "its session had ended, or nothing was tested")
	require.ErrorIs(t, early.Register(registrytest.Within(t), p), abstract.ErrExists)
	data, _, err := c.Get("/a/get@10.0.0.1:1")
	require.NoError(t, err)
	assert.Contains(t, string(data), "late")

	require.NoError(t, late.Unregister(registrytest.Within(t), q)) // now the address is free
	f.Until("the early one", func(p abstract.Providers) bool { return len(p.List) == 1 && p.List[0].Instance == "early" })
}

func TestWhatSomebodyRemovesComesBack(t *testing.T) {
	t.Parallel()
	w := start(t)
	r := w.opened(t, Config{Root: "/deep/down"})
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 1)))
	f := registrytest.Follow(t, r, "a.get")
	f.UntilPorts(1)
	c := w.plain(t)
	const node = "/deep/down/a/get@10.0.0.1:1"
	data, _, err := c.Get(node)
	require.NoError(t, err)
	require.NoError(t, c.Delete(node, -1))
	untilData(t, c, node, string(data))
	f.UntilPorts(1)
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
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 1)))
	registrytest.Follow(t, r, "a.get").UntilPorts(1)
	registrytest.Follow(t, w.opened(t, Config{}), "a.get").UntilPorts(1)
	wary := w.opened(t, Config{Servers: []string{l.Addr().String()}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}) // it does not know who signed
	short, cancel := context.WithTimeout(context.Background(), sessionTimeout)
	defer cancel()
	require.ErrorIs(t, wary.Register(short, registrytest.Provider("a.get", 2)), abstract.ErrTimeout)
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
