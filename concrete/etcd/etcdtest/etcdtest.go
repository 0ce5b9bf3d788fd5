// Package etcdtest runs a real etcd in the tests' own process.
package etcdtest

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net/url"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"trefoil/abstract/registrytest"
	"trefoil/concrete/internal/etcdlog"
)

// Config is that of an etcd alone in its cluster, with its data in dir and clients at addr,
// an IP and a port.
func Config(dir, addr string) *embed.Config {
	client := []url.URL{{Scheme: "http", Host: addr}}
	ec := embed.NewConfig()
	ec.Name, ec.Dir = "test", dir
	ec.ListenPeerUrls = nil
	ec.ListenClientUrls, ec.AdvertiseClientUrls = client, client
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	ec.InitialClusterToken = rand.Text()
	ec.EnableGRPCGateway = false
	ec.TickMs, ec.ElectionMs = 50, 250
	ec.BcryptCost = 4 // the least: under the race detector the usual one takes seconds
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(etcdlog.Quietly(slog.New(slog.DiscardHandler)))
	return ec
}

// Start runs an etcd until the test ends, and returns the "host:port" of its clients.
func Start(t testing.TB) string {
	t.Helper()
	for range 10 { // somebody else may take the port in between
		addr := registrytest.FreeAddr(t)
		e, err := embed.StartEtcd(Config(t.TempDir(), addr))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatalf("start etcd: %v", err)
		}
		t.Cleanup(e.Close)
		select {
		case <-e.Server.ReadyNotify():
		case <-time.After(time.Minute):
			t.Fatal("etcd does not serve")
		}
		return addr
	}
	t.Fatal("no free port")
	return ""
}
