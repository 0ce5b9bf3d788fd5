package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"trefoil/bench/internal/harness"
	"trefoil/bench/internal/program"
)

// serveEtcd starts one member in this process, on files in memory and without
// fsync. Short ticks make the shortest lease one second in place of two.
func serveEtcd(ctx context.Context, _ json.RawMessage) (*harness.Served, error) {
	dir, err := program.TempDir("bench-etcd-")
	if err != nil {
		return nil, err
	}
	e, addr, err := startEtcd(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop := func() {
		e.Close()
		_ = os.RemoveAll(dir)
	}
	select {
	case <-e.Server.ReadyNotify():
		return &harness.Served{Addr: addr, Stop: stop}, nil
	case err = <-e.Err():
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(30 * time.Second):
		err = errors.New("etcd is not ready within 30 s")
	}
	stop()
	return nil, err
}

func startEtcd(dir string) (e *embed.Etcd, addr string, err error) {
	addr, _, err = program.FreePort()
	if err != nil {
		return nil, "", err
	}
	peer, _, err := program.FreePort()
	if err != nil {
		return nil, "", err
	}
	clients, peers := []url.URL{{Scheme: "http", Host: addr}}, []url.URL{{Scheme: "http", Host: peer}}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.UnsafeNoFsync = true
	cfg.TickMs, cfg.ElectionMs = 20, 200
	cfg.QuotaBackendBytes = 4 << 30
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = clients, clients
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peers, peers
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err = embed.StartEtcd(cfg)
	return e, addr, err
}

// etcdSession is a client with a lease that it keeps alive.
type etcdSession struct {
	client *clientv3.Client
	lease  clientv3.LeaseID
	life   context.Context
	cancel context.CancelFunc
}

func dialEtcd(ctx context.Context, addr string, patience Patience) (Session, error) {
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: 30 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	s := &etcdSession{client: cli}
	s.life, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	seconds := int64(1)
	if patience == Patient {
		seconds = int64(minute / time.Second)
	}
	lease, err := cli.Grant(ctx, seconds)
	if err == nil {
		s.lease = lease.ID
		err = s.keepAlive()
	}
	if err != nil {
		s.cancel()
		return nil, errors.Join(err, cli.Close())
	}
	return s, nil
}

func (s *etcdSession) keepAlive() error {
	alive, err := s.client.KeepAlive(s.life, s.lease)
	if err != nil {
		return err
	}
	go func() {
		for range alive { // somebody has to read the answers
		}
	}()
	return nil
}

const etcdPrefix = "/bench/"

func (s *etcdSession) Prepare(context.Context, ...string) error { return nil }

func (s *etcdSession) Register(ctx context.Context, service string, port int) error {
	key := fmt.Sprintf("%s%s/127.0.0.1:%d", etcdPrefix, service, port)
	_, err := s.client.Put(ctx, key, providerData, clientv3.WithLease(s.lease))
	return err
}

func (s *etcdSession) Lookup(ctx context.Context, service string) (int, error) {
	rsp, err := s.client.Get(ctx, etcdPrefix+service+"/", clientv3.WithPrefix(), clientv3.WithSerializable())
	if err != nil {
		return 0, err
	}
	return len(rsp.Kvs), nil
}

func (s *etcdSession) Watch(ctx context.Context, service string, fn func(int, bool)) error {
	changes := s.client.Watch(s.life, etcdPrefix+service+"/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	select {
	case created := <-changes:
		if err := created.Err(); err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	go func() {
		for rsp := range changes {
			for _, ev := range rsp.Events {
				if port, err := portOf(string(ev.Kv.Key)); err == nil {
					fn(port, ev.Type == clientv3.EventTypePut)
				}
			}
		}
	}()
	return nil
}

func (s *etcdSession) Close(ctx context.Context) error {
	_, err := s.client.Revoke(ctx, s.lease)
	s.cancel()
	return errors.Join(err, s.client.Close())
}

// portOf reads the port of a provider's key or node, ".../127.0.0.1:port".
func portOf(key string) (int, error) {
	name := path.Base(key)
	if len(name) < len("127.0.0.1:") {
		return 0, fmt.Errorf("%q names no provider", key)
	}
	return strconv.Atoi(name[len("127.0.0.1:"):])
}
