package rpc

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/cloudwego/netpoll"

	"trefoil/bench/internal/harness"
)

// pollerWrites is how much a connection may have in flight for its echoes to be
// written on the poller: it fits into the socket's buffers. A write that has to
// wait there would wait for the poller itself.
const pollerWrites = 256 << 10

// serveFloorNetpoll echoes frames with netpoll: nothing but assembling them and
// one write per read, on the poller where that is possible.
func serveFloorNetpoll(_ context.Context, spec serveSpec) (*harness.Served, error) {
	cfg := netpoll.Config{BufferSize: 16 << 10, LoggerOutput: io.Discard}
	if spec.ConnBytes <= pollerWrites {
		cfg.Runner = func(_ context.Context, f func()) { f() }
	}
	if err := netpoll.Configure(cfg); err != nil {
		return nil, err
	}
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	loop, err := netpoll.NewEventLoop(onFrames, netpoll.WithOnPrepare(func(netpoll.Connection) context.Context {
		return context.WithValue(context.Background(), tailKey{}, &unfinished{})
	}))
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = loop.Serve(ln) }) // ends with an error when it is told to stop
	return &harness.Served{Addr: ln.Addr().String(), Stop: func() { stopLoop(loop, ln, &wg) }}, nil
}

func stopLoop(loop netpoll.EventLoop, ln net.Listener, wg *sync.WaitGroup) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // no patience with connections that are still open
	_ = loop.Shutdown(ctx)
	_ = ln.Close()
	wg.Wait()
}

type tailKey struct{}

// unfinished is a connection's frame that is not whole yet.
type unfinished struct{ bytes []byte }

// onFrames echoes what has been received of one connection.
func onFrames(ctx context.Context, conn netpoll.Connection) error {
	rest := ctx.Value(tailKey{}).(*unfinished)
	in := conn.Reader()
	b, err := in.Next(in.Len())
	if err != nil {
		return conn.Close()
	}
	all := append(rest.bytes, b...)
	if err := in.Release(); err != nil {
		return conn.Close()
	}
	n, err := wholeFrames(all)
	if err != nil {
		return conn.Close()
	}
	if n > 0 {
		out := conn.Writer()
		if err := out.WriteDirect(all[:n], 0); err != nil {
			return conn.Close()
		}
		if err := out.Flush(); err != nil {
			return conn.Close()
		}
	}
	rest.bytes = append(all[:0], all[n:]...)
	return nil
}
