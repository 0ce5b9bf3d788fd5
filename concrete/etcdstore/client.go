package etcdstore

import (
	"context"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/stats"

	"trefoil/concrete/internal/etcdlog"
)

const (
	dialTimeout  = 5 * time.Second
	pingEvery    = 10 * time.Second
	pingPatience = 5 * time.Second
	maxRedial    = 2 * time.Second
)

// newClient makes a client of a member's socket or of a cluster. It dials in the
// background, for ever.
func newClient(cfg Config, endpoints []string) (*clientv3.Client, error) {
	redial := backoff.DefaultConfig
	redial.BaseDelay, redial.MaxDelay = 100*time.Millisecond, maxRedial
	return clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		TLS:                  cfg.TLS,
		Username:             cfg.Username,
		Password:             cfg.Password,
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    pingEvery,
		DialKeepAliveTimeout: pingPatience,
		MaxCallSendMsgSize:   maxRequest + 1<<20,
		// One attempt: the client would repeat a write that etcd has given up, which
		// may have been carried out.
		MaxUnaryRetries: 1,
		Logger:          etcdlog.Quietly(cfg.Logger),
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: redial, MinConnectTimeout: dialTimeout}),
			grpc.WithStatsHandler(sentMarks{}),
		},
	})
}

// sentMark is set as soon as a request may have left this process.
type sentMark struct{ atomic.Bool }

type sentKey struct{}

// marked returns a context whose requests set the mark.
func marked(ctx context.Context) (context.Context, *sentMark) {
	m := new(sentMark)
	return context.WithValue(ctx, sentKey{}, m), m
}

// sentMarks is the grpc stats.Handler that sets the marks: before a stream exists
// nothing was sent, after that anything may have been.
type sentMarks struct{}

// TagRPC is stats.Handler's.
func (sentMarks) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC is stats.Handler's.
func (sentMarks) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); !ok {
		return
	}
	if m, ok := ctx.Value(sentKey{}).(*sentMark); ok {
		m.Store(true)
	}
}

// TagConn is stats.Handler's.
func (sentMarks) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn is stats.Handler's.
func (sentMarks) HandleConn(context.Context, stats.ConnStats) {}
