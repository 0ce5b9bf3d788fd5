package etcdstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/abstract/registrytest"
	"trefoil/abstract/storetest"
	"trefoil/concrete/internal/etcdlog"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

// open opens a Store that the test closes, if it has not done so itself.
func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := Open(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestMemberBehavesAsEveryDriver(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) abstract.Store { return open(t, Config{Dir: t.TempDir()}) })
}

func TestClusterBehavesAsEveryDriver(t *testing.T) {
	t.Parallel()
	endpoint := startServer(t).endpoint
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) abstract.Store {
		return open(t, Config{Endpoints: []string{endpoint}, Prefix: fmt.Sprintf("/trefoil-%d", n.Add(1))})
	})
}

// server is an etcd as somebody else would run it, on a TCP port.
type server struct {
	etcd     *embed.Etcd
	endpoint string
}

func startServer(t testing.TB) *server {
	t.Helper()
	for range 10 { // somebody else may take the port in between
		ec, endpoint := serverConfig(t)
		etcd, err := embed.StartEtcd(ec)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		t.Cleanup(etcd.Close)
		<-etcd.Server.ReadyNotify()
		return &server{etcd: etcd, endpoint: endpoint}
	}
	require.FailNow(t, "no free port")
	return nil
}

func serverConfig(t testing.TB) (ec *embed.Config, endpoint string) {
	client := []url.URL{{Scheme: "http", Host: registrytest.FreeAddr(t)}}
	ec = embed.NewConfig()
	ec.Name, ec.Dir = "outside", t.TempDir()
	ec.ListenPeerUrls = nil
	ec.ListenClientUrls, ec.AdvertiseClientUrls = client, client
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	ec.InitialClusterToken = rand.Text()
	ec.EnableGRPCGateway = false
	ec.MaxTxnOps, ec.MaxRequestBytes = abstract.StoreMaxOps, maxRequest
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(etcdlog.Quietly(slog.New(slog.DiscardHandler)))
	return ec, client[0].String()
}
