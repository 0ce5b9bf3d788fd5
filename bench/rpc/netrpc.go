package rpc

import (
	"context"
	"io"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"

	"trefoil/bench/internal/harness"
)

func netRPC() contestant {
	return contestant{
		name: "net/rpc", kind: harness.Peer,
		serve: func(context.Context, serveSpec) (*harness.Served, error) {
			return serveNetRPC((*rpc.Server).ServeConn)
		},
		dial: dialNetRPC(rpc.NewClient),
	}
}

func netRPCJSON() contestant {
	return contestant{
		name: "net/rpc-json", kind: harness.Peer,
		serve: func(context.Context, serveSpec) (*harness.Served, error) {
			return serveNetRPC(func(srv *rpc.Server, conn io.ReadWriteCloser) { srv.ServeCodec(jsonrpc.NewServerCodec(conn)) })
		},
		dial: dialNetRPC(jsonrpc.NewClient),
	}
}

// echoService is what net/rpc finds by reflection.
type echoService struct{}

// Echo answers with the text.
func (echoService) Echo(in EchoArgs, out *EchoArgs) error {
	work(in.Text)
	*out = in
	return nil
}

func serveNetRPC(serve func(*rpc.Server, io.ReadWriteCloser)) (*harness.Served, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	srv := rpc.NewServer()
	if err := srv.RegisterName("Echo", echoService{}); err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(srv, conn)
		}
	}()
	return &harness.Served{Addr: ln.Addr().String(), Stop: func() { ln.Close() }}, nil
}

type netRPCCaller struct{ c *rpc.Client }

func dialNetRPC(open func(io.ReadWriteCloser) *rpc.Client) func(context.Context, string) (caller, error) {
	return func(ctx context.Context, addr string) (caller, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return netRPCCaller{open(conn)}, nil
	}
}

func (c netRPCCaller) Close() { _ = c.c.Close() }

// Call uses Client.Call.
func (c netRPCCaller) Call(_ context.Context, p payload) error {
	var out EchoArgs
	if err := c.c.Call("Echo.Echo", EchoArgs{p.text}, &out); err != nil {
		return err
	}
	return p.check(out.Text)
}
