package mem_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
	"trefoil/concrete/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTransport(t *testing.T) {
	transporttest.Run(t, func(t testing.TB, server, client abstract.TransportConfig) transporttest.Transport {
		n := mem.NewNetwork()
		return transporttest.Transport{
			Server:    n.Server("srv", server),
			Client:    n.Client("srv", client),
			Throttles: true,
			Dial: func(t testing.TB) net.Conn {
				nc, err := n.Dial(context.Background(), "srv")
				require.NoError(t, err)
				return nc
			},
		}
	})
}
