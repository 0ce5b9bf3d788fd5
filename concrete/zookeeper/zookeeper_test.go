//go:build unix

package zookeeper

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/abstract/registrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a real ZooKeeper server, started by the test.
type world struct {
	*registrytest.ZooKeeper
	addr string
}

// sessionTimeout is short, and long enough for a machine that is busy.
const sessionTimeout = 4 * time.Second

func start(t *testing.T) *world {
	z := registrytest.StartZooKeeper(t)
	return &world{z, z.Addr}
}

// cable is how one client reaches the server, until it is cut.
type cable struct {
	mu    sync.Mutex
	conns []net.Conn
	isCut bool
}

func (l *cable) dial(network, addr string, timeout time.Duration) (net.Conn, error) {
	c, err := net.DialTimeout(network, addr, timeout)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		_ = c.Close()
		return nil, errors.New("the line is cut")
	}
	l.conns = append(l.conns, c)
	return c, nil
}

func (l *cable) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for _, c := range l.conns {
		_ = c.Close()
	}
}

// lined is a registry whose line can be cut.
type lined struct {
	*Registry
	cable *cable
}

func (w *world) openAt(t testing.TB, addr string) lined {
	return open(t, Config{Servers: []string{addr}})
}

func open(t testing.TB, cfg Config) lined {
	l := new(cable)
	cfg.SessionTimeout, cfg.Logger = sessionTimeout, slog.New(slog.DiscardHandler)
	r, err := newRegistry(cfg, l.dial)
	require.NoError(t, err)
	return lined{r, l}
}

func TestRegistryBehavesAsEveryRegistry(t *testing.T) {
	t.Parallel()
	w := start(t)
	proxy := registrytest.NewProxy(t, w.addr)
	registrytest.Run(t, registrytest.Fixture{
		New: func(t testing.TB) abstract.Registry { return w.openAt(t, proxy.Addr()) },
		Cut: func(testing.TB) { proxy.Cut() },
		Abandon: func(t testing.TB, r abstract.Registry) {
			gone := r.(lined)
			gone.cable.cut()
			t.Cleanup(func() { _ = gone.Close() })
		},
		Restart: func(t testing.TB) {
			w.Kill()
			w.Run(t)
		},
		Pause: func(t testing.TB) {
			w.Stop(t)
			<-time.After(2 * sessionTimeout) // this long a pause is what is tested
			w.Continue(t)
		},
	})
}
