package stdnet_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
	"trefoil/concrete/stdnet"
)

// BenchmarkEcho sends a message there and back, one at a time, with and without TLS.
func BenchmarkEcho(b *testing.B) {
	_, s, c := sides(b)
	c.ServerName = "localhost"
	serverTLS, clientTLS := newTLS(b, s), newTLS(b, c)
	for _, mode := range []string{"tcp", "tls"} {
		b.Run(mode, func(b *testing.B) {
			cfg, opened := keeping()
			srv := stdnet.NewServer("127.0.0.1:0", cfg)
			if mode == "tls" {
				srv = stdnet.NewTLSServer("127.0.0.1:0", cfg, serverTLS)
			}
			require.NoError(b, srv.Listen())
			served := make(chan error, 1)
			go func() { served <- srv.Serve() }()
			mine, clients := keeping()
			cli := stdnet.NewClient(srv.Addr().String(), mine)
			if mode == "tls" {
				cli = stdnet.NewTLSClient(srv.Addr().String(), mine, clientTLS)
			}
			conn, err := cli.Connect(b.Context())
			require.NoError(b, err)
			server, client := await(b, opened, "OnOpen"), await(b, clients, "OnOpen")
			b.ReportAllocs()
			m := &transporttest.Message{Kind: abstract.ReqRPC, Body: make([]byte, 128)}
			for b.Loop() {
				require.NoError(b, conn.Send(m))
				<-server.got
				require.NoError(b, server.conn.Send(m))
				<-client.got
			}
			conn.Close(nil)
			require.NoError(b, srv.Shutdown(context.Background()))
			require.NoError(b, <-served)
		})
	}
}
