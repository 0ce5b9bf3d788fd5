//go:build unix

package etcd

import (
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"trefoil/abstract"
	"trefoil/abstract/registrytest"
	"trefoil/concrete/internal/etcdlog"
)

// patience is far longer than anything takes that is waited for.
const patience = 2 * time.Minute

// ttl is short, and long enough for a machine that is busy.
const ttl = 4 * time.Second

func opened(t testing.TB, addr string, cfg Config) *Registry {
	cfg.Endpoints, cfg.TTL, cfg.Logger = []string{"http://" + addr}, ttl, slog.New(slog.DiscardHandler)
	r, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

func plain(t testing.TB, addr string) *clientv3.Client {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, Logger: etcdlog.Quietly(slog.New(slog.DiscardHandler))})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// untilKeys waits until so many providers of a method stand in etcd.
func untilKeys(t testing.TB, c *clientv3.Client, method string, n int64) {
	t.Helper()
	prefix := "/trefoil/providers/" + method + "/"
	for {
		got, err := c.Get(registrytest.Within(t), prefix, clientv3.WithPrefix())
		require.NoError(t, err)
		if got.Count == n {
			return
		}
		for range c.Watch(registrytest.Within(t), prefix, clientv3.WithPrefix(), clientv3.WithRev(got.Header.Revision+1)) {
			break
		}
	}
}

// The process is stopped for longer than leases live, again and again: now and then some
// are lost, and nobody is told so.
func TestStoppedServerLosesNobody(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	r, alone := opened(t, p.addr, Config{}), opened(t, p.addr, Config{})
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 1), registrytest.Provider("a.get", 2), registrytest.Provider("a.get", 3)))
	require.NoError(t, alone.Register(registrytest.Within(t), registrytest.Provider("b.get", 1)))
	other := opened(t, p.addr, Config{})
	f, g := registrytest.Follow(t, other, "a.get"), registrytest.Follow(t, other, "b.get")
	f.UntilPorts(1, 2, 3)
	g.UntilPorts(1)
	for i := range 2 {
		p.signal(syscall.SIGSTOP)
		<-time.After(2 * ttl) // this long a pause is what is tested
		p.signal(syscall.SIGCONT)
		require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 10+i)))
		require.NoError(t, alone.Register(registrytest.Within(t), registrytest.Provider("b.get", 10+i)))
	}
	f.UntilPorts(1, 2, 3, 10, 11)
	g.UntilPorts(1, 10, 11)
	assert.Empty(t, f.Gone())
	assert.Empty(t, g.Gone())
	registrytest.Follow(t, opened(t, p.addr, Config{}), "a.get").UntilPorts(1, 2, 3, 10, 11)
}

// Everybody is cut off for longer than leases live: all leases end.
func TestExpiredLeasesAreReplaced(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	proxy := registrytest.NewProxy(t, p.addr)
	c := plain(t, p.addr)
	r, other := opened(t, proxy.Addr(), Config{}), opened(t, proxy.Addr(), Config{})
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 1)))
	f := registrytest.Follow(t, other, "a.get")
	f.UntilPorts(1)
	for _, spoil := range []func(bool){proxy.Away, proxy.Dam} {
		spoil(true)
		untilKeys(t, c, "a.get", 0)
		spoil(false)
		untilKeys(t, c, "a.get", 1)
		require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("b.get", 2)))
		require.NoError(t, r.Unregister(registrytest.Within(t), registrytest.Provider("b.get", 2)))
	}
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 2)))
	f.UntilPorts(1, 2)
	assert.Empty(t, f.Gone())
}

// The process is killed, and stays away for longer than leases live.
func TestKilledServerLosesNobody(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	registrytest.Killed(t, func() abstract.Registry { return opened(t, p.addr, Config{}) }, p.kill, p.run, ttl)
}

// What a follower was not told while it was away has been thrown away by etcd meanwhile.
func TestCompactedRevisionsAreNoLoss(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	proxy := registrytest.NewProxy(t, p.addr)
	c := plain(t, p.addr)
	r, other := opened(t, p.addr, Config{}), opened(t, proxy.Addr(), Config{})
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 1), registrytest.Provider("a.get", 2)))
	f := registrytest.Follow(t, other, "a.get")
	f.UntilPorts(1, 2)
	proxy.Away(true)
	require.NoError(t, r.Unregister(registrytest.Within(t), registrytest.Provider("a.get", 1)))
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 3)))
	got, err := c.Get(registrytest.Within(t), "x")
	require.NoError(t, err)
	_, err = c.Compact(registrytest.Within(t), got.Header.Revision)
	require.NoError(t, err)
	proxy.Away(false)
	f.UntilPorts(2, 3)
}

func TestWhatEtcdForbidsIsDenied(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	c := plain(t, p.addr)
	for _, user := range []string{"root", "reader", "writer"} {
		_, err := c.UserAdd(registrytest.Within(t), user, "secret")
		require.NoError(t, err)
	}
	_, err := c.RoleAdd(registrytest.Within(t), "root")
	require.NoError(t, err)
	prefix := "/trefoil/providers/"
	for name, kind := range map[string]clientv3.PermissionType{"reader": clientv3.PermissionType(clientv3.PermRead), "writer": clientv3.PermissionType(clientv3.PermReadWrite)} {
		_, err = c.RoleAdd(registrytest.Within(t), name)
		require.NoError(t, err)
		_, err = c.RoleGrantPermission(registrytest.Within(t), name, prefix, clientv3.GetPrefixRangeEnd(prefix), kind)
		require.NoError(t, err)
		_, err = c.UserGrantRole(registrytest.Within(t), name, name)
		require.NoError(t, err)
	}
	_, err = c.UserGrantRole(registrytest.Within(t), "root", "root")
	require.NoError(t, err)
	_, err = c.AuthEnable(registrytest.Within(t))
	require.NoError(t, err)

	writer := opened(t, p.addr, Config{Username: "writer", Password: "secret"})
	reader := opened(t, p.addr, Config{Username: "reader", Password: "secret"})
	stranger := opened(t, p.addr, Config{})
	impostor := opened(t, p.addr, Config{Username: "writer", Password: "guess"})
	require.NoError(t, writer.Register(registrytest.Within(t), registrytest.Provider("a.get", 1)))
	f := registrytest.Follow(t, reader, "a.get")
	f.UntilPorts(1)
	for name, r := range map[string]*Registry{"reader": reader, "stranger": stranger, "impostor": impostor} {
		require.ErrorIs(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 2)), abstract.ErrDenied, name)
		require.NoError(t, r.Unregister(registrytest.Within(t), registrytest.Provider("a.get", 2)), name)
	}
	for name, r := range map[string]*Registry{"stranger": stranger, "impostor": impostor} {
		_, err := r.Discover(registrytest.Within(t), "a.get")
		require.ErrorIs(t, err, abstract.ErrDenied, name)
	}
	require.NoError(t, writer.Register(registrytest.Within(t), registrytest.Provider("a.get", 3)))
	f.UntilPorts(1, 3)
}

func TestWhoCameLaterKeepsTheAddress(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	proxy := registrytest.NewProxy(t, p.addr)
	c := plain(t, p.addr)
	early, late := opened(t, proxy.Addr(), Config{}), opened(t, p.addr, Config{})
	a, b := registrytest.Provider("a.get", 1), registrytest.Provider("a.get", 1)
	a.Instance, b.Instance = "early", "late"
	require.NoError(t, early.Register(registrytest.Within(t), a, registrytest.Provider("b.get", 1)))
	require.NoError(t, late.Register(registrytest.Within(t), b))
	proxy.Away(true)
	untilKeys(t, c, "b.get", 0) // its lease has ended
	proxy.Away(false)
	untilKeys(t, c, "b.get", 1)
	require.ErrorIs(t, early.Register(registrytest.Within(t), a), abstract.ErrExists)
	f := registrytest.Follow(t, late, "a.get")
	f.Until("the later one", func(p abstract.Providers) bool { return len(p.List) == 1 && p.List[0].Instance == "late" })
	require.NoError(t, late.Unregister(registrytest.Within(t), b)) // now the address is free
	f.Until("the early one", func(p abstract.Providers) bool { return len(p.List) == 1 && p.List[0].Instance == "early" })
}

func TestWhatSomebodyRemovesComesBack(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	c := plain(t, p.addr)
	r := opened(t, p.addr, Config{})
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 1)))
	_, err := c.Delete(registrytest.Within(t), "/trefoil/", clientv3.WithPrefix())
	require.NoError(t, err)
	untilKeys(t, c, "a.get", 1)
}

func TestMoreProvidersThanATransactionTakes(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	c := plain(t, p.addr)
	r := opened(t, p.addr, Config{})
	const many = 250
	var all []abstract.Provider
	for port := range many {
		all = append(all, registrytest.Provider("a.get", port+1))
	}
	require.NoError(t, r.Register(registrytest.Within(t), all...))
	f := registrytest.Follow(t, opened(t, p.addr, Config{}), "a.get")
	f.Until("all", func(p abstract.Providers) bool { return len(p.List) == many })
	lease, err := r.leases.get(registrytest.Within(t))
	require.NoError(t, err)
	_, err = c.Revoke(registrytest.Within(t), lease)
	require.NoError(t, err)
	untilKeys(t, c, "a.get", many)
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", many+1)))
	f.Until("one more", func(p abstract.Providers) bool { return len(p.List) == many+1 })
	assert.Empty(t, f.Gone())
}

func TestCloseDoesNotWaitForAServerThatIsAway(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	proxy := registrytest.NewProxy(t, p.addr)
	for name, c := range map[string]struct {
		addr  string
		spoil func(away bool)
		cfg   Config
	}{
		"nobody listens":         {"127.0.0.1:1", nil, Config{}},
		"nobody to authenticate": {"127.0.0.1:1", nil, Config{Username: "u", Password: "p"}},
		"it went away":           {proxy.Addr(), proxy.Away, Config{}},
		"it stopped answering":   {proxy.Addr(), proxy.Dam, Config{}},
	} {
		t.Run(name, func(t *testing.T) {
			registrytest.CloseReturns(t, opened(t, c.addr, c.cfg), c.spoil, ttl/10)
		})
	}
}

func TestConfigsThatAreNone(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no endpoints":            {},
		"an empty endpoint":       {Endpoints: []string{""}},
		"a name without password": {Endpoints: []string{"http://h:1"}, Username: "u"},
	} {
		_, err := New(cfg)
		require.ErrorIs(t, err, abstract.ErrInvalidParams, name)
	}
}

// A lease that is replaced while it lives, as after a write whose fate is unknown, takes
// nothing with it when it is revoked.
func TestReplacedLeaseLeavesItsKeys(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	c := plain(t, p.addr)
	r := opened(t, p.addr, Config{})
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 1)))
	f := registrytest.Follow(t, opened(t, p.addr, Config{}), "a.get")
	f.UntilPorts(1)
	before, err := r.leases.get(registrytest.Within(t))
	require.NoError(t, err)
	r.leases.replace(before)
	now, err := r.leases.get(registrytest.Within(t))
	require.NoError(t, err)
	require.NotEqual(t, before, now)
	got, err := c.Get(registrytest.Within(t), r.key(registrytest.Provider("a.get", 1)))
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	assert.EqualValues(t, now, got.Kvs[0].Lease)
	require.NoError(t, r.Register(registrytest.Within(t), registrytest.Provider("a.get", 2)))
	f.UntilPorts(1, 2)
	assert.Empty(t, f.Gone())
}
