package jetstream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"trefoil/abstract"
)

// errInUse says that another process has the lock.
var errInUse = errors.New("in use by another process")

const startPatience = 10 * time.Second

// member is a NATS server in this process.
type member struct {
	server *server.Server
	dir    string
	lock   *os.File
}

// startMember starts a server on cfg.Dir. It reads what is there first, and returns when
// it can be used. hurt is told of streams that cannot be written to any longer.
func startMember(cfg Config, hurt func(stream string, err error)) (*member, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	m := &member{dir: dir}
	if err := m.start(cfg, hurt); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *member) start(cfg Config, hurt func(string, error)) error {
	if err := m.takeDir(); err != nil {
		return err
	}
	srv, err := server.NewServer(m.options(cfg))
	if err != nil {
		return fmt.Errorf("start JetStream in %s: %w", m.dir, err)
	}
	log := &serverLog{to: cfg.Logger, hurt: hurt}
	srv.SetLoggerV2(log, false, false, false)
	m.server = srv
	srv.Start()
	if why := log.fatal.Load(); why != nil {
		return abstract.Errorf(abstract.Unavailable, "JetStream does not start in %s (%s): see that the directory can be written to, "+
			"or restore it from a backup, or move it away to begin with empty topics", m.dir, *why)
	}
	if !srv.ReadyForConnections(startPatience) || !srv.JetStreamEnabled() {
		return abstract.Errorf(abstract.Unavailable, "JetStream does not start in %s; the log says why", m.dir)
	}
	return nil
}

// takeDir makes the directory ours: nobody else's to read, and no other process's to use.
func (m *member) takeDir() error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(m.dir, 0o700); err != nil {
		return err
	}
	lock, err := lockFile(filepath.Join(m.dir, "lock"))
	if errors.Is(err, errInUse) {
		return abstract.Errorf(abstract.Unavailable, "%s is in use by another process; stop it, or choose another directory", m.dir)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", m.dir, err)
	}
	m.lock = lock
	return nil
}

func (m *member) options(cfg Config) *server.Options {
	o := &server.Options{
		ServerName:             "trefoil",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               m.dir,
		JetStreamMaxStore:      cfg.Quota,
		SyncAlways:             cfg.Sync == SyncAlways,
		SyncInterval:           cfg.Sync.interval(),
		MaxPayload:             int32(cfg.MaxMessage + headRoom),
		MaxPending:             int64(max(64<<20, 4*cfg.MaxMessage)),
	}
	if o.JetStreamMaxStore == 0 {
		o.JetStreamMaxStore = 1 << 60 // its default is a part of what is free now, whatever is used already
	}
	return o
}

// streamDir is where a stream is on the disk.
func (m *member) streamDir(stream string) string {
	return filepath.Join(m.dir, "jetstream", "$G", "streams", stream)
}

// full says whether so many bytes more would leave less than keep free on the disk. The
// server must not meet a full one.
func (m *member) full(keep int64, bytes int) bool {
	free, known := freeSpace(m.dir)
	return known && free-int64(bytes) < keep
}

// room says whether so many bytes more are surely within the quota, if there is one.
func (m *member) room(quota int64, bytes int) bool {
	if quota == 0 {
		return true
	}
	info, err := m.server.Jsz(nil)
	return err == nil && info.Store+uint64(bytes) < uint64(quota)
}

// close stops the server and lets go of the directory.
func (m *member) close() {
	if m.server != nil {
		m.server.Shutdown()
		m.server.WaitForShutdown()
	}
	if m.lock != nil {
		_ = m.lock.Close()
	}
}
