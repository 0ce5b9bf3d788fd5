//go:build unix

package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
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
const patience = time.Minute

const ttl = 2 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

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

// untilKeys waits until so many providers of a method stand in etcd.
func untilKeys(t testing.TB, c *clientv3.Client, method string, n int64) {
	t.Helper()
	prefix := "/trefoil/providers/" + method + "/"
	for {
		got, err := c.Get(within(t), prefix, clientv3.WithPrefix())
		require.NoError(t, err)
		if got.Count == n {
			return
		}
		for range c.Watch(within(t), prefix, clientv3.WithPrefix(), clientv3.WithRev(got.Header.Revision+1)) {
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
	require.NoError(t, r.Register(within(t), provider("a.get", 1), provider("a.get", 2), provider("a.get", 3)))
	require.NoError(t, alone.Register(within(t), provider("b.get", 1)))
	other := opened(t, p.addr, Config{})
	f, g := follow(t, other, "a.get"), follow(t, other, "b.get")
	f.untilPorts(1, 2, 3)
	g.untilPorts(1)
	for i := range 2 {
		p.signal(syscall.SIGSTOP)
		<-time.After(2 * ttl) // this long a pause is what is tested
		p.signal(syscall.SIGCONT)
		require.NoError(t, r.Register(within(t), provider("a.get", 10+i)))
		require.NoError(t, alone.Register(within(t), provider("b.get", 10+i)))
	}
	f.untilPorts(1, 2, 3, 10, 11)
	g.untilPorts(1, 10, 11)
	assert.Empty(t, f.gone)
	assert.Empty(t, g.gone)
	follow(t, opened(t, p.addr, Config{}), "a.get").untilPorts(1, 2, 3, 10, 11)
}

// Everybody is cut off for longer than leases live: all leases end.
func TestExpiredLeasesAreReplaced(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	proxy := registrytest.NewProxy(t, p.addr)
	c := plain(t, p.addr)
	r, other := opened(t, proxy.Addr(), Config{}), opened(t, proxy.Addr(), Config{})
	require.NoError(t, r.Register(within(t), provider("a.get", 1)))
	f := follow(t, other, "a.get")
	f.untilPorts(1)
	for _, spoil := range []func(bool){proxy.Away, proxy.Dam} {
		spoil(true)
		untilKeys(t, c, "a.get", 0)
		spoil(false)
		untilKeys(t, c, "a.get", 1)
		require.NoError(t, r.Register(within(t), provider("b.get", 2)))
		require.NoError(t, r.Unregister(within(t), provider("b.get", 2)))
	}
	require.NoError(t, r.Register(within(t), provider("a.get", 2)))
	f.untilPorts(1, 2)
	assert.Empty(t, f.gone)
}

// The process is killed, and stays away for longer than leases live.
func TestKilledServerLosesNobody(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	r, other := opened(t, p.addr, Config{}), opened(t, p.addr, Config{})
	require.NoError(t, r.Register(within(t), provider("a.get", 1), provider("a.get", 2)))
	f := follow(t, other, "a.get")
	f.untilPorts(1, 2)
	p.kill()
	short, cancel := context.WithTimeout(context.Background(), 2*ttl)
	defer cancel()
	require.ErrorIs(t, r.Unregister(short, provider("a.get", 1)), abstract.ErrTimeout)
	short, cancel = context.WithTimeout(context.Background(), ttl/10)
	defer cancel()
	require.ErrorIs(t, r.Register(short, provider("a.get", 3)), abstract.ErrTimeout)
	list, err := other.Discover(within(t), "a.get")
	require.NoError(t, err)
	assert.Len(t, list, 2, "the last list stays")
	p.run()
	f.untilPorts(2, 3)
	for _, gone := range f.gone {
		assert.Equal(t, 1, gone.Host.Port, "the others were never gone")
	}
	follow(t, opened(t, p.addr, Config{}), "a.get").untilPorts(2, 3)
}

// What a follower was not told while it was away has been thrown away by etcd meanwhile.
func TestCompactedRevisionsAreNoLoss(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	proxy := registrytest.NewProxy(t, p.addr)
	c := plain(t, p.addr)
	r, other := opened(t, p.addr, Config{}), opened(t, proxy.Addr(), Config{})
	require.NoError(t, r.Register(within(t), provider("a.get", 1), provider("a.get", 2)))
	f := follow(t, other, "a.get")
	f.untilPorts(1, 2)
	proxy.Away(true)
	require.NoError(t, r.Unregister(within(t), provider("a.get", 1)))
	require.NoError(t, r.Register(within(t), provider("a.get", 3)))
	got, err := c.Get(within(t), "x")
	require.NoError(t, err)
	_, err = c.Compact(within(t), got.Header.Revision)
	require.NoError(t, err)
	proxy.Away(false)
	f.untilPorts(2, 3)
}

func TestWhatEtcdForbidsIsDenied(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	c := plain(t, p.addr)
	for _, user := range []string{"root", "reader", "writer"} {
		_, err := c.UserAdd(within(t), user, "secret")
		require.NoError(t, err)
	}
	_, err := c.RoleAdd(within(t), "root")
	require.NoError(t, err)
	prefix := "/trefoil/providers/"
	for name, kind := range map[string]clientv3.PermissionType{"reader": clientv3.PermissionType(clientv3.PermRead), "writer": clientv3.PermissionType(clientv3.PermReadWrite)} {
		_, err = c.RoleAdd(within(t), name)
		require.NoError(t, err)
		_, err = c.RoleGrantPermission(within(t), name, prefix, clientv3.GetPrefixRangeEnd(prefix), kind)
		require.NoError(t, err)
		_, err = c.UserGrantRole(within(t), name, name)
		require.NoError(t, err)
	}
	_, err = c.UserGrantRole(within(t), "root", "root")
	require.NoError(t, err)
	_, err = c.AuthEnable(within(t))
	require.NoError(t, err)

	writer := opened(t, p.addr, Config{Username: "writer", Password: "secret"})
	reader := opened(t, p.addr, Config{Username: "reader", Password: "secret"})
	stranger := opened(t, p.addr, Config{})
	impostor := opened(t, p.addr, Config{Username: "writer", Password: "guess"})
	require.NoError(t, writer.Register(within(t), provider("a.get", 1)))
	f := follow(t, reader, "a.get")
	f.untilPorts(1)
	for name, r := range map[string]*Registry{"reader": reader, "stranger": stranger, "impostor": impostor} {
		require.ErrorIs(t, r.Register(within(t), provider("a.get", 2)), abstract.ErrDenied, name)
		require.NoError(t, r.Unregister(within(t), provider("a.get", 2)), name)
	}
	for name, r := range map[string]*Registry{"stranger": stranger, "impostor": impostor} {
		_, err := r.Discover(within(t), "a.get")
		require.ErrorIs(t, err, abstract.ErrDenied, name)
	}
	require.NoError(t, writer.Register(within(t), provider("a.get", 3)))
	f.untilPorts(1, 3)
}

func TestWhoCameLaterKeepsTheAddress(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	proxy := registrytest.NewProxy(t, p.addr)
	c := plain(t, p.addr)
	early, late := opened(t, proxy.Addr(), Config{}), opened(t, p.addr, Config{})
	a, b := provider("a.get", 1), provider("a.get", 1)
	a.Instance, b.Instance = "early", "late"
	require.NoError(t, early.Register(within(t), a, provider("b.get", 1)))
	require.NoError(t, late.Register(within(t), b))
	proxy.Away(true)
	untilKeys(t, c, "b.get", 0) // its lease has ended
	proxy.Away(false)
	untilKeys(t, c, "b.get", 1)
	require.ErrorIs(t, early.Register(within(t), a), abstract.ErrExists)
	f := follow(t, late, "a.get")
	f.until("the later one", func(list []abstract.Provider) bool { return len(list) == 1 && list[0].Instance == "late" })
	require.NoError(t, late.Unregister(within(t), b)) // now the address is free
	f.until("the early one", func(list []abstract.Provider) bool { return len(list) == 1 && list[0].Instance == "early" })
}

func TestWhatSomebodyRemovesComesBack(t *testing.T) {
	t.Parallel()
	p := startProcess(t)
	c := plain(t, p.addr)
	r := opened(t, p.addr, Config{})
	require.NoError(t, r.Register(within(t), provider("a.get", 1)))
	_, err := c.Delete(within(t), "/trefoil/", clientv3.WithPrefix())
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
		all = append(all, provider("a.get", port+1))
	}
	require.NoError(t, r.Register(within(t), all...))
	f := follow(t, opened(t, p.addr, Config{}), "a.get")
	f.until("all", func(list []abstract.Provider) bool { return len(list) == many })
	lease, err := r.leases.get(within(t))
	require.NoError(t, err)
	_, err = c.Revoke(within(t), lease)
	require.NoError(t, err)
	untilKeys(t, c, "a.get", many)
	require.NoError(t, r.Register(within(t), provider("a.get", many+1)))
	f.until("one more", func(list []abstract.Provider) bool { return len(list) == many+1 })
	assert.Empty(t, f.gone)
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
			r := opened(t, c.addr, c.cfg)
			stop := r.Follow("a.get", func(abstract.Providers) {})
			if c.spoil != nil {
				require.NoError(t, r.Register(within(t), provider("a.get", 1)))
				c.spoil(true)
				defer c.spoil(false)
			}
			short, cancel := context.WithTimeout(context.Background(), ttl/10)
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
	require.NoError(t, r.Register(within(t), provider("a.get", 1)))
	f := follow(t, opened(t, p.addr, Config{}), "a.get")
	f.untilPorts(1)
	before, err := r.leases.get(within(t))
	require.NoError(t, err)
	r.leases.replace(before)
	now, err := r.leases.get(within(t))
	require.NoError(t, err)
	require.NotEqual(t, before, now)
	got, err := c.Get(within(t), r.key(provider("a.get", 1)))
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	assert.EqualValues(t, now, got.Kvs[0].Lease)
	require.NoError(t, r.Register(within(t), provider("a.get", 2)))
	f.untilPorts(1, 2)
	assert.Empty(t, f.gone)
}
