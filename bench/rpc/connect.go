package rpc

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"trefoil/bench/internal/harness"
)

func connectContestant() contestant {
	return contestant{name: "connect", kind: harness.Peer, serve: serveConnect, dial: dialConnect}
}

// streams is how many calls a connection may have in flight; the default of 250
// would make the client open more connections.
const streams = 4096

func h2c() *http.Protocols {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return p
}

func serveConnect(context.Context, serveSpec) (*harness.Served, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(servicePath, connect.NewUnaryHandler(servicePath,
		func(_ context.Context, req *connect.Request[wrapperspb.BytesValue]) (*connect.Response[wrapperspb.BytesValue], error) {
			workBytes(req.Msg.Value)
			return connect.NewResponse(req.Msg), nil
		}))
	srv := &http.Server{Handler: mux, Protocols: h2c(), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streams}}
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			ln.Close()
		}
	}()
	return &harness.Served{Addr: ln.Addr().String(), Stop: func() { _ = srv.Close() }}, nil
}

type connectCaller struct {
	transport *http.Transport
	c         *connect.Client[wrapperspb.BytesValue, wrapperspb.BytesValue]
}

// dialConnect makes a client with one HTTP/2 connection.
func dialConnect(_ context.Context, addr string) (caller, error) {
	tr := &http.Transport{Protocols: h2c(), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streams}}
	c := connect.NewClient[wrapperspb.BytesValue, wrapperspb.BytesValue](&http.Client{Transport: tr}, "http://"+addr+servicePath)
	return connectCaller{tr, c}, nil
}

func (c connectCaller) Close() { c.transport.CloseIdleConnections() }

// Call is a unary call.
func (c connectCaller) Call(ctx context.Context, p payload) error {
	rsp, err := c.c.CallUnary(ctx, connect.NewRequest(&wrapperspb.BytesValue{Value: p.bytes}))
	if err != nil {
		return err
	}
	return p.checkBytes(rsp.Msg.Value)
}
