package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"trefoil/bench/internal/harness"
)

// The service of the contestants that have services.
const (
	service     = "bench.Echo"
	serviceCall = "Echo"
	servicePath = "/" + service + "/" + serviceCall
)

func grpcContestant() contestant {
	return contestant{name: "grpc", kind: harness.Peer, serve: serveGRPC, dial: dialGRPC}
}

// echoDesc is what generated code would hold.
var echoDesc = grpc.ServiceDesc{
	ServiceName: service,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: serviceCall,
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := &wrapperspb.BytesValue{}
			if err := decode(in); err != nil {
				return nil, err
			}
			workBytes(in.Value)
			return in, nil
		},
	}},
}

func serveGRPC(context.Context, serveSpec) (*harness.Served, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	srv := grpc.NewServer()
	srv.RegisterService(&echoDesc, struct{}{})
	go func() { _ = srv.Serve(ln) }() // ends when it is stopped
	return &harness.Served{Addr: ln.Addr().String(), Stop: srv.Stop}, nil
}

type grpcCaller struct{ cc *grpc.ClientConn }

func dialGRPC(_ context.Context, addr string) (caller, error) {
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	return grpcCaller{cc}, err
}

func (c grpcCaller) Close() { _ = c.cc.Close() }

// Call is a unary call.
func (c grpcCaller) Call(ctx context.Context, p payload) error {
	out := &wrapperspb.BytesValue{}
	if err := c.cc.Invoke(ctx, servicePath, &wrapperspb.BytesValue{Value: p.bytes}, out); err != nil {
		return err
	}
	return p.checkBytes(out.Value)
}
