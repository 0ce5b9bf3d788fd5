package rpc

import (
	"context"
	"net"

	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcserver"

	"trefoil/bench/internal/harness"
)

func drpcContestant() contestant {
	return contestant{
		name: "drpc", kind: harness.Peer, serve: serveDRPC, dial: dialDRPC, serial: true,
		note: "has one call at a time on a connection: it opens as many as calls are in flight",
	}
}

// rawEncoding carries *[]byte as it is.
type rawEncoding struct{}

// Marshal returns the bytes.
func (rawEncoding) Marshal(m drpc.Message) ([]byte, error) { return *m.(*[]byte), nil }

// Unmarshal copies the bytes.
func (rawEncoding) Unmarshal(b []byte, m drpc.Message) error {
	p := m.(*[]byte)
	*p = append((*p)[:0], b...)
	return nil
}

type drpcEcho struct{}

// HandleRPC answers one call.
func (drpcEcho) HandleRPC(stream drpc.Stream, _ string) error {
	var text []byte
	if err := stream.MsgRecv(&text, rawEncoding{}); err != nil {
		return err
	}
	workBytes(text)
	if err := stream.MsgSend(&text, rawEncoding{}); err != nil {
		return err
	}
	return stream.CloseSend()
}

func serveDRPC(ctx context.Context, _ serveSpec) (*harness.Served, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	srv := drpcserver.New(drpcEcho{})
	go func() { _ = srv.Serve(ctx, ln) }() // ends with ctx
	return &harness.Served{Addr: ln.Addr().String(), Stop: func() { ln.Close() }}, nil
}

type drpcCaller struct{ conn *drpcconn.Conn }

func dialDRPC(ctx context.Context, addr string) (caller, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return drpcCaller{drpcconn.New(conn)}, nil
}

func (c drpcCaller) Close() { _ = c.conn.Close() }

// Call uses Conn.Invoke.
func (c drpcCaller) Call(ctx context.Context, p payload) error {
	var out []byte
	if err := c.conn.Invoke(ctx, servicePath, rawEncoding{}, &p.bytes, &out); err != nil {
		return err
	}
	return p.checkBytes(out)
}
