package rpc

import (
	"context"
	"log/slog"
	"time"

	"trefoil/bench/internal/harness"
	"trefoil/client"
	"trefoil/server"
)

// helperBroker is a Trefoil broker, for the contestant that finds its provider.
const helperBroker = "trefoil-broker"

// method is what Trefoil's contestants call.
const method = "bench.echo"

// EchoArgs are the parameters of the echo, and what fasthttp, arpc and net/rpc
// carry; the latter asks for an exported type.
type EchoArgs struct {
	Text string `json:"text"`
}

func trefoils() []contestant {
	return []contestant{
		{name: "trefoil", kind: harness.Ours, serve: serveTrefoil, dial: dialTrefoil},
		{name: "trefoil-future", kind: harness.Ours, serve: serveTrefoil, dial: dialTrefoilFuture},
		typedContestant(),
		{name: "trefoil-func", kind: harness.Ours, serve: serveTrefoil, dial: dialTrefoilFunc},
		{name: "trefoil-stub", kind: harness.Ours, serve: serveTrefoilStub, dial: dialTrefoilStub},
		{name: "trefoil-discovery", kind: harness.Ours, helper: helperBroker, serve: serveTrefoil, dial: dialTrefoilDiscovery},
	}
}

// quiet keeps logs out of what is measured.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serveTrefoil serves the echo.
func serveTrefoil(ctx context.Context, spec serveSpec) (*harness.Served, error) {
	return serveWith(ctx, spec, func(srv *server.RpcServer) error {
		return server.Handle(srv, method, func(_ context.Context, in EchoArgs) (string, error) {
			work(in.Text)
			return in.Text, nil
		})
	})
}

// serveWith runs a server with an echo, and registers it when there is a broker.
func serveWith(ctx context.Context, spec serveSpec, add func(*server.RpcServer) error) (*harness.Served, error) {
	opts := []server.Option{server.WithLogger(quiet())}
	var conn *client.Conn
	if spec.Helper != "" {
		var err error
		if conn, err = client.Dial(ctx, spec.Helper, client.WithLogger(quiet())); err != nil {
			return nil, err
		}
		opts = append(opts, server.WithRegistry(client.NewRegistryClient(conn)))
	}
	srv := server.NewRpcServer("127.0.0.1:0", opts...)
	if err := add(srv); err != nil {
		return nil, err
	}
	if err := srv.Announce(ctx); err != nil {
		return nil, err
	}
	go func() { _ = srv.Serve() }() // it listens already
	return &harness.Served{Addr: srv.Addr().String(), Stop: func() {
		shutdown(srv.Shutdown)
		if conn != nil {
			_ = conn.Close()
		}
	}}, nil
}

// serveBroker runs a broker for discovery.
func serveBroker(context.Context, serveSpec) (*harness.Served, error) {
	b := server.NewBroker("127.0.0.1:0", server.WithLogger(quiet()))
	if err := b.Listen(); err != nil {
		return nil, err
	}
	go func() { _ = b.Serve() }() // it listens already
	return &harness.Served{Addr: b.Addr().String(), Stop: func() { shutdown(b.Shutdown) }}, nil
}

// shutdown stops a server without waiting long for connections that are open.
func shutdown(stop func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = stop(ctx) // the process ends anyway
}

// trefoilClient calls and waits.
type trefoilClient struct {
	rpc  *client.RpcClient
	conn *client.Conn // to the broker, if there is one
}

func dialDirect(ctx context.Context, addr string) (trefoilClient, error) {
	c, err := client.DialRpc(ctx, addr, client.WithLogger(quiet()))
	return trefoilClient{rpc: c}, err
}

func dialTrefoil(ctx context.Context, addr string) (caller, error) {
	return dialDirect(ctx, addr)
}

// dialTrefoilDiscovery connects to the broker only; the provider is found by the
// first call.
func dialTrefoilDiscovery(ctx context.Context, addr string) (caller, error) {
	conn, err := client.Dial(ctx, addr, client.WithLogger(quiet()))
	if err != nil {
		return nil, err
	}
	rpc := client.NewRpcClient(client.NewDiscoveryClient(conn), client.WithLogger(quiet()))
	return trefoilClient{rpc: rpc, conn: conn}, nil
}

func (c trefoilClient) Close() {
	_ = c.rpc.Close()
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// Call uses RpcClient.Call.
func (c trefoilClient) Call(ctx context.Context, p payload) error {
	var echo string
	if err := c.rpc.Call(ctx, method, EchoArgs{p.text}, &echo); err != nil {
		return err
	}
	return p.check(echo)
}

// trefoilFuture calls with CallFuture and waits for the Future.
type trefoilFuture struct{ trefoilClient }

func dialTrefoilFuture(ctx context.Context, addr string) (caller, error) {
	c, err := dialDirect(ctx, addr)
	return trefoilFuture{c}, err
}

// Call uses RpcClient.CallFuture.
func (c trefoilFuture) Call(ctx context.Context, p payload) error {
	var echo string
	if err := c.rpc.CallFuture(ctx, method, EchoArgs{p.text}).Wait(ctx, &echo); err != nil {
		return err
	}
	return p.check(echo)
}

// trefoilFunc is called back.
type trefoilFunc struct{ trefoilClient }

func dialTrefoilFunc(ctx context.Context, addr string) (caller, error) {
	c, err := dialDirect(ctx, addr)
	return trefoilFunc{c}, err
}

// Launch uses RpcClient.CallFunc.
func (c trefoilFunc) Launch(ctx context.Context, p payload, done func(error)) {
	c.rpc.CallFunc(ctx, method, EchoArgs{p.text}, func(r client.Reply, err error) {
		var echo string
		if err == nil {
			err = r.Decode(&echo)
		}
		if err == nil {
			err = p.check(echo)
		}
		done(err)
	})
}
