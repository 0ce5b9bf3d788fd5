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

// open opens a server whose connections all belong to netpoll.
func open(t testing.TB, server, client abstract.TransportConfig) transporttest.Transport {
	server.Served = -1
	return openServing(t, server, client)
}

// openServing opens a server that gives its first connections a goroutine each.
func openServing(t testing.TB, server, client abstract.TransportConfig) transporttest.Transport {
	srv := tcp.NewServer("127.0.0.1:0", server)
	require.NoError(t, srv.Listen())
	addr := srv.Addr().String()
	return transporttest.Transport{
		Server:    srv,
		Client:    tcp.NewClient(addr, client),
		Throttles: server.Served >= 0,
		Dial: func(t testing.TB) net.Conn {
			nc, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			return nc
		},
	}
}

func TestTransport(t *testing.T) { transporttest.Run(t, open) }

func TestTransportWithGoroutines(t *testing.T) { transporttest.Run(t, openServing) }

func TestIntegrity(t *testing.T) { transporttest.Integrity(t, open) }

// TestIntegrityOfBothKinds has connections with a goroutine and others side by side.
func TestIntegrityOfBothKinds(t *testing.T) {
	transporttest.Integrity(t, func(t testing.TB, server, client abstract.TransportConfig) transporttest.Transport {
		server.Served = 2
		return openServing(t, server, client)
	})
}

func TestCloseWhileWriting(t *testing.T) { transporttest.CloseWhileWriting(t, open, 400) }

func TestCloseWhileWritingWithGoroutines(t *testing.T) {
	transporttest.CloseWhileWriting(t, openServing, 400)
}

func TestListenFailsOnATakenPort(t *testing.T) {
	first := tcp.NewServer("127.0.0.1:0", settings())
	require.NoError(t, first.Listen())
	second := tcp.NewServer(first.Addr().String(), settings())
	require.Error(t, second.Listen())
	require.Nil(t, second.Addr())
	for _, srv := range []abstract.BaseServer{first, second} {
		require.NoError(t, srv.Shutdown(t.Context()))
	}
}

func settings() abstract.TransportConfig {
	return abstract.TransportConfig{
		Protocol: transporttest.Protocol{},
		OnOpen:   func(abstract.BaseConnection) abstract.Receiver { return nil },
	}
}
