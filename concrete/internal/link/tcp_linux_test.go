package link

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTuneBoundsWhatIsUnsentAndUnacknowledged(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer nc.Close()

	raw, err := nc.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	Tune(nc, time.Second)
	require.NoError(t, raw.Control(func(fd uintptr) {
		unsent, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat)
		assert.NoError(t, err)
		assert.Equal(t, unsentBytes, unsent)
		silence, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
		assert.NoError(t, err)
		assert.Equal(t, int(userTimeout.Milliseconds()), silence)
	}))
	Tune(tls.Client(nc, nil), time.Hour)
	require.NoError(t, raw.Control(func(fd uintptr) {
		silence, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
		assert.NoError(t, err)
		assert.Equal(t, 3_600_000, silence, "a write that may take an hour")
	}))
}
