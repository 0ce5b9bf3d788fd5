package sock

import (
	"errors"
	"net"
	"os"
	"time"

	"trefoil/concrete/internal/link"
)

// Wire moves the bytes of a Conn through a net.Conn.
type Wire struct {
	net.Conn
	timeout time.Duration
	direct  directWriter
}

var _ link.Wire = (*Wire)(nil)

// NewWire makes a Wire over nc. A write that makes no end in timeout fails.
func NewWire(nc net.Conn, timeout time.Duration) *Wire {
	w := &Wire{Conn: nc, timeout: timeout}
	w.direct.init(nc)
	return w
}

// TryWrite writes what the socket takes at once, where the system lets us.
func (w *Wire) TryWrite(bufs [][]byte) (int, error) { return w.direct.tryWrite(bufs) }

// Write blocks until the socket has taken everything, for the write timeout at most.
func (w *Wire) Write(bufs [][]byte) error {
	if err := w.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return err
	}
	all := net.Buffers(bufs)
	if _, err := all.WriteTo(w.Conn); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return link.WriteTimeout(w.timeout)
		}
		return err
	}
	return w.SetWriteDeadline(time.Time{}) // TryWrite would meet it, too
}

// CloseWrite sends the FIN.
func (w *Wire) CloseWrite() error {
	if h, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}
