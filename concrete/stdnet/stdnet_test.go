package stdnet_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
	"trefoil/concrete/stdnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(addr func(t testing.TB) string) transporttest.Open {
	return func(t testing.TB, server, client abstract.TransportConfig) transporttest.Transport {
		at := addr(t)
		srv := stdnet.NewServer(at, server)
		require.NoError(t, srv.Listen())
		network, path := "tcp", srv.Addr().String()
		target := path
		if strings.HasPrefix(at, "unix:") {
			network, target = "unix", at
		}
		return transporttest.Transport{
			Server:    srv,
			Client:    stdnet.NewClient(target, client),
			Throttles: true,
			Dial: func(t testing.TB) net.Conn {
				nc, err := net.Dial(network, path)
				require.NoError(t, err)
				return nc
			},
		}
	}
}

func TestTransportOverTCP(t *testing.T) {
	transporttest.Run(t, open(tcpAddr))
}

func TestTransportOverUnixSocket(t *testing.T) {
	transporttest.Run(t, open(func(t testing.TB) string { return "unix:" + filepath.Join(t.TempDir(), "s") }))
}

func tcpAddr(testing.TB) string { return "127.0.0.1:0" }

func TestIntegrity(t *testing.T) { transporttest.Integrity(t, open(tcpAddr)) }

func TestCloseWhileWriting(t *testing.T) { transporttest.CloseWhileWriting(t, open(tcpAddr), 200) }
