//go:build unix

package etcd

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"trefoil/abstract"
	"trefoil/abstract/registrytest"
	"trefoil/concrete/etcd/etcdtest"
	"trefoil/concrete/internal/etcdlog"
)

// server is a real etcd on a TCP port, that can be restarted.
type server struct {
	config *embed.Config
	etcd   *embed.Etcd
	client *clientv3.Client // the test's own
}

func start(t *testing.T) *server {
	for range 10 { // somebody else may take the port in between
		s := &server{config: config(t)}
		err := s.run(t)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		t.Cleanup(func() { s.etcd.Close() })
		s.client, err = clientv3.New(clientv3.Config{Endpoints: []string{s.endpoint()}, Logger: etcdlog.Quietly(slog.New(slog.DiscardHandler))})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.client.Close() })
		return s
	}
	require.FailNow(t, "no free port")
	return nil
}

func config(t *testing.T) *embed.Config {
	return etcdtest.Config(t.TempDir(), registrytest.FreeAddr(t))
}

func (s *server) endpoint() string { return s.config.ListenClientUrls[0].String() }

func (s *server) run(t testing.TB) error {
	var err error
	if s.etcd, err = embed.StartEtcd(s.config); err != nil {
		return err
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
	case <-time.After(time.Minute):
		require.FailNow(t, "etcd does not serve")
	}
	return nil
}

// expire ends every lease, as a server does that has not run for a while.
func (s *server) expire(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all, err := s.client.Leases(ctx)
	require.NoError(t, err)
	for _, l := range all.Leases {
		_, err := s.client.Revoke(ctx, l.ID)
		require.NoError(t, err)
	}
}

func (s *server) openAt(t testing.TB, endpoint string) *Registry {
	r, err := New(Config{Endpoints: []string{endpoint}, TTL: ttl, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return r
}

func TestRegistryBehavesAsEveryRegistry(t *testing.T) {
	t.Parallel()
	s := start(t)
	proxy := registrytest.NewProxy(t, s.config.ListenClientUrls[0].Host)
	registrytest.Run(t, registrytest.Fixture{
		New: func(t testing.TB) abstract.Registry { return s.openAt(t, "http://"+proxy.Addr()) },
		Cut: func(testing.TB) { proxy.Cut() },
		Abandon: func(t testing.TB, r abstract.Registry) {
			gone := r.(*Registry)
			gone.cancel() // nothing is renewed or written any more
			t.Cleanup(func() { _ = gone.Close() })
		},
		Restart: func(t testing.TB) {
			s.etcd.Close()
			require.Eventually(t, func() bool { return s.run(t) == nil }, patience, 50*time.Millisecond)
		},
		Pause: s.expire,
	})
}
