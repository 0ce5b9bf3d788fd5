package stdnet

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
)

func settings() abstract.TransportConfig {
	return abstract.TransportConfig{
		Protocol: transporttest.Protocol{},
		OnOpen:   func(abstract.BaseConnection) abstract.Receiver { return nil },
	}
}

func TestSplitKnowsUnixSockets(t *testing.T) {
	for _, tt := range []struct{ name, addr, network, address string }{
		{"tcp", "127.0.0.1:7700", "tcp", "127.0.0.1:7700"},
		{"any interface", ":7700", "tcp", ":7700"},
		{"unix", "unix:/run/t.sock", "unix", "/run/t.sock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			network, address := split(tt.addr)
			assert.Equal(t, tt.network, network)
			assert.Equal(t, tt.address, address)
		})
	}
}

func TestSocketFileOfADeadServerIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, ln.Close()) // as a killed process leaves it
	srv := NewServer("unix:"+path, settings())
	require.NoError(t, srv.Listen())
	if runtime.GOOS != "windows" { // which has no such modes
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	require.NoError(t, srv.Shutdown(context.Background()))
	assert.NoFileExists(t, path)
}

func TestSocketFileInUseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first := NewServer("unix:"+path, settings())
	require.NoError(t, first.Listen())
	served := make(chan error, 1)
	go func() { served <- first.Serve() }()
	err := NewServer("unix:"+path, settings()).Listen()
	assert.ErrorIs(t, err, abstract.ErrExists)
	assert.ErrorContains(t, err, "another process listens")
	require.NoError(t, first.Shutdown(context.Background()))
	require.NoError(t, <-served)
}

func TestFileThatIsNoSocketIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes")
	require.NoError(t, os.WriteFile(path, []byte("dear diary"), 0o600))
	assert.ErrorIs(t, NewServer("unix:"+path, settings()).Listen(), abstract.ErrExists)
	assert.FileExists(t, path)
}

func TestListenFailsOnATakenPort(t *testing.T) {
	first := NewServer("127.0.0.1:0", settings())
	require.NoError(t, first.Listen())
	assert.Error(t, NewServer(first.Addr().String(), settings()).Serve())
	require.NoError(t, first.Shutdown(context.Background()))
}
