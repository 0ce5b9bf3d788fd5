package rpc

import (
	"bufio"
	"context"
	"io"
	"net"

	"github.com/goccy/go-json"
	"github.com/lesismal/arpc"
	arpclog "github.com/lesismal/arpc/log"

	"trefoil/bench/internal/harness"
)

func arpcContestant() contestant {
	return contestant{
		name: "arpc", kind: harness.Peer, serve: serveARPC, dial: dialARPC,
		note: "has buffers of 64 KiB for reading and for sending, which it does not have by default, and go-json instead of encoding/json",
	}
}

// arpcBuffer is what it is best with.
const arpcBuffer = 64 << 10

// tune gives a handler its buffers. Without a send buffer arpc writes each
// message by itself; the reader is set as a whole because a cloned handler keeps
// the buffer size of its origin.
func tune(h arpc.Handler) {
	h.SetSendBufferSize(arpcBuffer)
	h.SetReaderWrapper(func(conn net.Conn) io.Reader { return bufio.NewReaderSize(conn, arpcBuffer) })
}

// goJSON is arpc's codec.
type goJSON struct{}

// Marshal encodes v.
func (goJSON) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal decodes b.
func (goJSON) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

// serveARPC handles requests as they are read, or on goroutines of their own when
// some are slow.
func serveARPC(_ context.Context, spec serveSpec) (*harness.Served, error) {
	arpclog.SetLevel(arpclog.LevelNone)
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	srv := arpc.NewServer()
	srv.Codec = goJSON{}
	tune(srv.Handler)
	srv.Handler.Handle(servicePath, func(ctx *arpc.Context) {
		var in EchoArgs
		if err := ctx.Bind(&in); err != nil {
			_ = ctx.Error(err.Error())
			return
		}
		work(in.Text)
		_ = ctx.Write(&in) // the caller notices when it fails
	}, spec.Slow)
	go func() { _ = srv.Serve(ln) }() // ends with the listener
	return &harness.Served{Addr: ln.Addr().String(), Stop: func() { _ = srv.Stop() }}, nil
}

type arpcCaller struct{ c *arpc.Client }

func dialARPC(_ context.Context, addr string) (caller, error) {
	arpclog.SetLevel(arpclog.LevelNone)
	handler := arpc.DefaultHandler.Clone()
	tune(handler)
	c, err := arpc.NewClient(func() (net.Conn, error) { return net.DialTimeout("tcp", addr, callTimeout) }, handler)
	if err != nil {
		return nil, err
	}
	c.Codec = goJSON{}
	return arpcCaller{c}, nil
}

func (c arpcCaller) Close() { c.c.Stop() }

// Call uses Client.Call.
func (c arpcCaller) Call(_ context.Context, p payload) error {
	var out EchoArgs
	if err := c.c.Call(servicePath, &EchoArgs{p.text}, &out, callTimeout); err != nil {
		return err
	}
	return p.check(out.Text)
}
