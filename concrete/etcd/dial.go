package etcd

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"trefoil/concrete/internal/etcdlog"
)

const (
	connectTimeout = 2 * time.Second
	tokenTimeout   = 10 * time.Second // a busy server takes its time over a password
	ping           = 10 * time.Second // the shortest that its library takes
	pingPatience   = 5 * time.Second
	maxRedial      = time.Second
	retryPause     = 200 * time.Millisecond
)

// connection is the client of etcd's library. To make it may take a while: with a password
// the library asks the server for a token first.
type connection struct {
	mu      sync.Mutex
	client  *clientv3.Client
	problem error         // what the server has against us
	changed chan struct{} // closed when one of them is there
}

func (c *connection) init() { c.changed = make(chan struct{}) }

func (c *connection) set(client *clientv3.Client, problem error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil && c.problem == nil {
		close(c.changed)
	}
	c.client, c.problem = client, problem
}

// get waits for the client.
func (c *connection) get(ctx context.Context) (*clientv3.Client, error) {
	select {
	case <-c.changed:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.client, c.problem
}

func (c *connection) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		return nil
	}
	return c.client.Close()
}

// dial makes the client, and goes on trying.
func (r *Registry) dial() {
	redial := backoff.DefaultConfig
	redial.BaseDelay, redial.MaxDelay = retryPause, maxRedial
	for r.ctx.Err() == nil {
		client, err := clientv3.New(clientv3.Config{
			Endpoints: r.cfg.Endpoints, TLS: r.cfg.TLS, Username: r.cfg.Username, Password: r.cfg.Password,
			Context: r.ctx, DialTimeout: tokenTimeout, DialKeepAliveTime: ping, DialKeepAliveTimeout: pingPatience,
			MaxUnaryRetries: 1, // a write that may have been carried out is not repeated behind our back
			Logger:          etcdlog.Quietly(r.cfg.Logger),
			DialOptions:     []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial, MinConnectTimeout: connectTimeout})},
		})
		switch {
		case err == nil:
			r.connection.set(client, nil)
			return
		case refused(err):
			r.cfg.Logger.Error("etcd does not let us in; trying again", "err", err)
			r.connection.set(nil, err)
		default:
			r.cfg.Logger.Warn("no connection to etcd, trying again", "err", err)
		}
		r.pause(maxRedial)
	}
}

// pause waits, but not beyond Close.
func (r *Registry) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.ctx.Done():
	}
}
