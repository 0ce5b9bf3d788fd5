//go:build linux || darwin

package tcp_test

import (
	"io"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
)

// silent is a Receiver that wants nothing.
type silent struct{}

func (silent) OnMessages([]abstract.BaseMessage) {}
func (silent) OnClose(error)                     {}

// TestWrittenBurstIsLetGo sends more than the socket takes, so that netpoll writes
// the rest, and ends with a small piece of a large frame.
func TestWrittenBurstIsLetGo(t *testing.T) {
	cfg := settings()
	conns := make(chan abstract.BaseConnection, 1)
	cfg.OnOpen = func(c abstract.BaseConnection) abstract.Receiver {
		conns <- c
		return silent{}
	}
	tr := open(t, cfg, settings())
	served := make(chan error, 1)
	go func() { served <- tr.Server.Serve() }()
	nc := tr.Dial(t)
	conn := <-conns

	const size = 12<<20 + 100
	frame := make([]byte, size)
	kept := weak.Make(&frame[0])
	require.NoError(t, conn.Queue(abstract.Frame{Count: 1, Bytes: frame[:size:size]}))
	conn.Flush()
	_, err := io.CopyN(io.Discard, nc, size)
	require.NoError(t, err)
	assert.Eventually(t, func() bool {
		runtime.GC()
		return kept.Value() == nil
	}, 2*time.Minute, time.Millisecond)

	runtime.KeepAlive(conn)
	require.NoError(t, nc.Close())
	require.NoError(t, tr.Server.Shutdown(t.Context()))
	require.NoError(t, <-served)
}
