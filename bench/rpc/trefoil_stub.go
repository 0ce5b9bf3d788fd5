package rpc

import (
	"context"

	"trefoil/bench/internal/harness"
	"trefoil/bench/rpc/echo"
	"trefoil/server"
)

// echoServer serves what the stub calls.
type echoServer struct{}

// Echo returns what it gets.
func (echoServer) Echo(_ context.Context, in *echo.Text) (*echo.Text, error) {
	work(in.GetText())
	return in, nil
}

func serveTrefoilStub(ctx context.Context, spec serveSpec) (*harness.Served, error) {
	return serveWith(ctx, spec, func(srv *server.RpcServer) error { return echo.RegisterEcho(srv, echoServer{}) })
}

// trefoilStub calls with a stub that protoc-gen-trefoil has generated.
type trefoilStub struct {
	trefoilClient
	stub echo.EchoClient
}

func dialTrefoilStub(ctx context.Context, addr string) (caller, error) {
	c, err := dialDirect(ctx, addr)
	return trefoilStub{c, echo.NewEchoClient(c.rpc)}, err
}

// Call uses the stub.
func (c trefoilStub) Call(ctx context.Context, p payload) error {
	out, err := c.stub.Echo(ctx, &echo.Text{Text: p.text})
	if err != nil {
		return err
	}
	return p.check(out.GetText())
}
