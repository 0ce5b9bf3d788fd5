//go:build linux || darwin

package tcp_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
	"trefoil/concrete/tcp"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"))
}

func TestTransport(t *testing.T) {
	transporttest.Run(t, func(t testing.TB, server, client abstract.TransportConfig) transporttest.Transport {
		srv := tcp.NewServer("127.0.0.1:0", server)
		require.NoError(t, srv.Listen())
		addr := srv.Addr().String()
		return transporttest.Transport{
			Server: srv,
			Client: tcp.NewClient(addr, client),
			Dial: func(t testing.TB) net.Conn {
				nc, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				return nc
			},
		}
	})
}
