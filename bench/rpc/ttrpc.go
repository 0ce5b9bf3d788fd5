package rpc

import (
	"context"
	"net"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"trefoil/bench/internal/harness"
)

func ttrpcContestant() contestant {
	return contestant{name: "ttrpc", kind: harness.Peer, serve: serveTTRPC, dial: dialTTRPC}
}

func serveTTRPC(ctx context.Context, _ serveSpec) (*harness.Served, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	srv, err := ttrpc.NewServer()
	if err != nil {
		return nil, err
	}
	srv.Register(service, map[string]ttrpc.Method{
		serviceCall: func(_ context.Context, decode func(any) error) (any, error) {
			in := &wrapperspb.BytesValue{}
			if err := decode(in); err != nil {
				return nil, err
			}
			workBytes(in.Value)
			return in, nil
		},
	})
	go func() { _ = srv.Serve(ctx, ln) }() // ends when it is closed
	return &harness.Served{Addr: ln.Addr().String(), Stop: func() { _ = srv.Close() }}, nil
}

type ttrpcCaller struct{ c *ttrpc.Client }

func dialTTRPC(ctx context.Context, addr string) (caller, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return ttrpcCaller{ttrpc.NewClient(conn)}, nil
}

func (c ttrpcCaller) Close() { _ = c.c.Close() }

// Call uses Client.Call.
func (c ttrpcCaller) Call(ctx context.Context, p payload) error {
	out := &wrapperspb.BytesValue{}
	if err := c.c.Call(ctx, service, serviceCall, &wrapperspb.BytesValue{Value: p.bytes}, out); err != nil {
		return err
	}
	return p.checkBytes(out.Value)
}
