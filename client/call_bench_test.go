package client_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/lv"
	"trefoil/concrete/mem"
	"trefoil/concrete/message"
)

// known is a registry that never changes.
type known []abstract.Provider

func (l known) Discover(context.Context, string) ([]abstract.Provider, error) { return l, nil }

func (l known) Follow(_ string, fn func(abstract.Providers)) (stop func()) {
	told := make(chan struct{})
	go func() { fn(abstract.Providers{List: l}); close(told) }()
	return func() { <-told }
}

// echoer answers every request at once, one write for each batch.
type echoer struct {
	bc       abstract.BaseConnection
	protocol *lv.Protocol
}

func (e echoer) OnMessages(batch []abstract.BaseMessage) {
	b := lv.Memory(4 << 10)
	n := 0
	for _, m := range batch {
		switch m := m.(type) {
		case *message.Hello:
			_ = e.bc.Send(&message.HelloResponse{Header: message.ID(m.ID()), Version: message.ProtocolVersion, PingMs: 60_000, Misses: 5, MaxFrame: 8 << 20})
		case *message.RpcRequest:
			b, _ = e.protocol.Append(b, &message.RpcResponse{Header: message.ID(m.ID()), Result: m.Parameters})
			n++
		}
	}
	if n > 0 {
		_ = e.bc.Queue(abstract.Frame{Class: abstract.ClassResponse, Count: n, Bytes: b, Free: lv.Recycle})
		e.bc.Flush()
	}
}

func (echoer) OnClose(error) {}

// BenchmarkCall is the caller's part of a call, mostly: the provider only echoes.
func BenchmarkCall(b *testing.B) {
	net := mem.NewNetwork()
	protocol := lv.New(message.New(message.Config{}), lv.Config{})
	var list known
	for i := range 4 {
		at, err := abstract.ParseHost(host(i))
		require.NoError(b, err)
		srv := net.Server(host(i), abstract.TransportConfig{
			Protocol: protocol, Logger: quiet,
			OnOpen: func(bc abstract.BaseConnection) abstract.Receiver { return echoer{bc, protocol} },
		})
		require.NoError(b, srv.Listen())
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve() }()
		b.Cleanup(func() { _, _ = srv.Shutdown(ctx), <-ended })
		list = append(list, abstract.Provider{Method: "svc.do", Host: at, Instance: "5b6a3a0e8a8a4ce8b3b26f20d0a5c1f" + host(i)[5:6], Hello: true})
	}
	opts := []client.Option{client.WithTransport(net.Client), client.WithLogger(quiet)}
	found := client.NewRpcClient(list, opts...)
	b.Cleanup(func() { _ = found.Close() })
	direct, err := client.DialRpc(ctx, host(0), opts...)
	require.NoError(b, err)
	b.Cleanup(func() { _ = direct.Close() })
	in := message.Raw(`{"text":"a text that is as long as the texts of a benchmark are, more or less"}`)
	for name, c := range map[string]*client.RpcClient{"found": found, "direct": direct} {
		b.Run(name, func(b *testing.B) {
			require.NoError(b, c.Call(ctx, "svc.do", in, nil))
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := c.Call(ctx, "svc.do", in, nil); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
