package client_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"))
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// world is a broker, providers and clients on a network inside the process, in
// virtual time: every wait is a matter of microseconds, and exact.
type world struct {
	*testing.T
	net *mem.Network
}

// inWorld runs a test in a world of its own.
func inWorld(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) { test(&world{t, mem.NewNetwork()}) })
}

// running is a server that was started, and can be ended before the test's end.
type running struct {
	w     *world
	srv   abstract.BaseServer
	ended chan error
	once  sync.Once
}

func (w *world) run(srv interface {
	abstract.BaseServer
	Listen() error
}) *running {
	w.Helper()
	require.NoError(w, srv.Listen())
	r := &running{w: w, srv: srv, ended: make(chan error, 1)}
	go func() { r.ended <- srv.Serve() }()
	w.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(r.w, r.srv.Shutdown(ctx))
		require.NoError(r.w, <-r.ended)
	})
}

func (w *world) broker(opts ...server.Option) *running {
	looks := server.WithHealthChecks(server.HealthChecks{Dial: []client.Option{client.WithTransport(w.net.Client)}})
	return w.run(server.NewBroker("broker", append([]server.Option{looks, server.WithTransport(w.net.Server), server.WithLogger(quiet)}, opts...)...))
}

func (w *world) dial(opts ...client.Option) *client.Conn {
	w.Helper()
	c, err := client.Dial(context.Background(), "broker", append(opts, client.WithTransport(w.net.Client), client.WithLogger(quiet))...)
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, c.Close()) })
	return c
}

func (w *world) rpc(d abstract.Discovery, opts ...client.Option) *client.RpcClient {
	c := client.NewRpcClient(d, append(opts, client.WithTransport(w.net.Client), client.WithLogger(quiet))...)
	w.Cleanup(func() { require.NoError(w, c.Close()) })
	return c
}

type sumArgs struct {
	A int `json:"a"`
	B int `json:"b"`
}

// provider serves "sum", "who" (its own name), "hang" (until the caller gives up)
// and "fail", and registers them.
func (w *world) provider(name string, reg abstract.Registrar) *running {
	w.Helper()
	srv := server.NewRpcServer(name, server.WithTransport(w.net.Server), server.WithLogger(quiet), server.WithRegistry(reg))
	require.NoError(w, server.Handle(srv, "sum", func(_ context.Context, in sumArgs) (int, error) { return in.A + in.B, nil }))
	require.NoError(w, server.Handle(srv, "who", func(context.Context, struct{}) (string, error) { return name, nil }))
	require.NoError(w, server.Handle(srv, "hang", func(ctx context.Context, _ struct{}) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}))
	require.NoError(w, server.Handle(srv, "fail", func(context.Context, struct{}) (string, error) {
		return "", &abstract.Error{Code: abstract.Denied, Message: "not you", Details: []byte(`{"need":"more"}`)}
	}))
	r := w.run(srv)
	synctest.Wait()
	return r
}

func host(i int) string { return fmt.Sprintf("host-%d:9000", i) }
