package stdnet

import (
	"context"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/internal/link"
)

// TestDeadPeersOfTCPAreNoticed looks at the socket options that watch a connection.
func TestDeadPeersOfTCPAreNoticed(t *testing.T) {
	ln, err := (&driver{addr: "127.0.0.1:0"}).Listen()
	require.NoError(t, err)
	defer ln.Close()
	d := net.Dialer{KeepAliveConfig: link.KeepAlive()}
	client, err := d.DialContext(context.Background(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	server, err := ln.Accept()
	require.NoError(t, err)
	defer server.Close()
	for name, nc := range map[string]net.Conn{"client": client, "server": server} {
		t.Run(name, func(t *testing.T) {
			link.Tune(nc, 0)
			raw, err := nc.(*net.TCPConn).SyscallConn()
			require.NoError(t, err)
			require.NoError(t, raw.Control(func(fd uintptr) {
				for _, o := range []struct{ level, option, want int }{
					{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
					{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
					{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
					{syscall.IPPROTO_TCP, 18, 20_000}, // TCP_USER_TIMEOUT
				} {
					got, err := syscall.GetsockoptInt(int(fd), o.level, o.option)
					require.NoError(t, err)
					assert.Equal(t, o.want, got, "option %d", o.option)
				}
			}))
		})
	}
}
