package etcdstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/embed"

	"trefoil/abstract"
	"trefoil/concrete/internal/etcdlog"
)

const (
	// maxSocketPath is how long a unix socket's path may be on every system.
	maxSocketPath = 100
	// maxRequest lets the largest transaction through, its encoding included.
	maxRequest = 10 << 20
	// snapshotCount and catchUp bound the log that a member keeps in memory and
	// reads at its start: entries can have megabytes, and nobody has to catch up.
	snapshotCount = 2000
	catchUp       = 100
	// A member that is alone elects itself once, when it starts: that shall not
	// take a second.
	tickMs     = 50
	electionMs = 250
)

// member is an etcd server in this process.
type member struct {
	server *embed.Etcd
	lock   *fileutil.LockedFile
	socket string
	temp   string // a directory for the socket, when its path in Dir is too long
}

// startMember starts etcd in cfg.Dir and returns when it serves.
func startMember(ctx context.Context, cfg Config) (*member, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	m := new(member)
	if err := m.start(ctx, cfg, dir); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *member) start(ctx context.Context, cfg Config, dir string) error {
	if err := m.takeDir(dir); err != nil {
		return err
	}
	server, err := embed.StartEtcd(m.config(cfg, dir))
	if err != nil {
		return fmt.Errorf("start etcd in %s: %w", dir, err)
	}
	m.server = server
	select {
	case <-server.Server.ReadyNotify():
		return nil
	case <-server.Server.StopNotify():
		return fmt.Errorf("start etcd in %s: it stopped; its log says why", dir)
	case err := <-server.Err():
		return fmt.Errorf("start etcd in %s: %w", dir, err)
	case <-ctx.Done():
		return fmt.Errorf("start etcd in %s: %w", dir, ctx.Err())
	}
}

// takeDir makes the directory ours: nobody else's to read, and no other process's
// to use. The lock goes with the process, however that ends.
func (m *member) takeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	lock, err := fileutil.TryLockFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_WRONLY, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return abstract.Errorf(abstract.Unavailable, "%s is in use by another process; stop it, or choose another directory", dir)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	m.lock = lock
	m.socket = filepath.Join(dir, "etcd.sock")
	if len(m.socket) <= maxSocketPath {
		return nil
	}
	if m.temp, err = os.MkdirTemp("", "trefoil-"); err != nil { // mode 0700, too
		return err
	}
	m.socket = filepath.Join(m.temp, "etcd.sock")
	return nil
}

// config is etcd's configuration: a single member that listens on nothing but the
// socket. Its peer address is a name only, as nobody ever dials it.
func (m *member) config(cfg Config, dir string) *embed.Config {
	client := []url.URL{{Scheme: "unix", Path: m.socket}}
	ec := embed.NewConfig()
	ec.Name = "trefoil"
	ec.Dir = dir
	ec.ListenPeerUrls = nil
	ec.ListenClientUrls, ec.AdvertiseClientUrls = client, client
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	// The token makes the cluster's id, which is our epoch: a directory that was
	// emptied starts another history. Etcd reads it at the first start only.
	ec.InitialClusterToken = rand.Text()
	ec.EnableGRPCGateway = false
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(etcdlog.Quietly(cfg.Logger))
	ec.QuotaBackendBytes = cfg.Quota
	ec.MaxTxnOps = abstract.StoreMaxOps
	ec.MaxRequestBytes = maxRequest
	ec.SnapshotCount, ec.SnapshotCatchUpEntries = snapshotCount, catchUp
	ec.TickMs, ec.ElectionMs = tickMs, electionMs
	ec.AutoCompactionMode, ec.AutoCompactionRetention = embed.CompactorModeRevision, "1000"
	return ec
}

// close stops the server and lets go of the directory.
func (m *member) close() {
	if m.server != nil {
		m.server.Close()
	}
	if m.temp != "" {
		_ = os.RemoveAll(m.temp)
	}
	if m.lock != nil {
		_ = m.lock.Close()
	}
}
