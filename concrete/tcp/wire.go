//go:build linux || darwin

package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cloudwego/netpoll"

	"trefoil/concrete/internal/link"
)

// wire moves the bytes of a Conn through one socket that netpoll watches. It is
// also the context of the socket's callbacks.
//
// netpoll closes the descriptor, in a callback that runs after gone. Everything
// here that uses the descriptor holds mu and looks at open first, so a number that
// the system has given to another socket is never written. We never call netpoll's
// Close: a connection that is closed while its callback runs on the poller is freed
// on the poller, which then waits for itself for ever. Instead the socket is shut
// down; the poller sees that as the end, and frees it from a goroutine of its own.
type wire struct {
	timeout       time.Duration
	local, remote netip.AddrPort
	conn          *link.Conn
	hub           *hub // hears that the descriptor is about to be closed; nil for nobody

	mu   sync.Mutex
	fd   int
	np   netpoll.Connection // nil until netpoll watches fd; its Reader is behind reading
	open bool               // fd is ours

	// reading guards netpoll's input buffer, which wants one reader. It is held
	// for moments only: the poller waits for it.
	reading sync.Mutex
	input   bool // netpoll watches fd, and has not seen the end
}

var (
	_ link.Wire       = (*wire)(nil)
	_ link.Rester     = (*wire)(nil)
	_ context.Context = (*wire)(nil)
)

// newWire takes the socket out of nc, which is closed.
func newWire(nc net.Conn, timeout time.Duration) (*wire, error) {
	defer nc.Close()
	w := &wire{timeout: timeout, local: addrPort(nc.LocalAddr()), remote: addrPort(nc.RemoteAddr())}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no socket", nc)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var dupErr error
	if err := raw.Control(func(fd uintptr) { w.fd, dupErr = dup(int(fd)) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("dup", dupErr)
	}
	w.open = true
	return w, nil
}

// addrPort is an address as it is kept: without memory of its own.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

func dup(fd int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	n, err := syscall.Dup(fd)
	if err == nil {
		syscall.CloseOnExec(n)
	}
	return n, err
}

// TryWrite writes what the socket takes at once.
func (w *wire) TryWrite(bufs [][]byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.open {
		return 0, io.EOF // the peer closed, or we did and nobody asks
	}
	n, err := link.WriteFD(w.fd, bufs)
	if err != nil {
		return 0, os.NewSyscallError("write", err)
	}
	return n, nil
}

// Write blocks until the socket has taken everything, for the write timeout at most.
func (w *wire) Write(bufs [][]byte) (err error) {
	defer func() {
		if v := recover(); v != nil { // netpoll's buffers are gone after a close
			err = fmt.Errorf("write after close: %v", v)
		}
	}()
	np, err := w.prepare(bufs)
	if err != nil {
		return err
	}
	err = np.Writer().Flush()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, netpoll.ErrWriteTimeout):
		return link.WriteTimeout(w.timeout)
	case errors.Is(err, netpoll.ErrConnClosed):
		return io.EOF
	}
	return err
}

// prepare hands bufs to netpoll, while it is sure that netpoll has its buffers.
func (w *wire) prepare(bufs [][]byte) (netpoll.Connection, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.open {
		return nil, io.EOF
	}
	if w.np == nil {
		return nil, errors.New("write before the start")
	}
	for i, b := range bufs {
		if i == len(bufs)-1 {
			b = roomy(b)
		}
		if err := w.np.Writer().WriteDirect(b, 0); err != nil {
			return nil, err
		}
	}
	return w.np, nil
}

// roomy returns b in memory of more than 8 KiB. netpoll holds on to the last piece
// that it wrote, and so to the burst that it was cut from, unless it is as large.
func roomy(b []byte) []byte {
	const least = 8<<10 + 1
	if cap(b) >= least {
		return b
	}
	return append(make([]byte, 0, least), b...)
}

// CloseWrite sends the FIN.
func (w *wire) CloseWrite() error { return w.shutdown(syscall.SHUT_WR) }

// Close ends the connection. netpoll frees what belongs to it a moment later.
func (w *wire) Close() error { return w.shutdown(syscall.SHUT_RDWR) }

func (w *wire) shutdown(how int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.open {
		return net.ErrClosed
	}
	return syscall.Shutdown(w.fd, how)
}

// LocalAddr is our address.
func (w *wire) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(w.local) }

// RemoteAddr is the peer's address.
func (w *wire) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(w.remote) }

// Deadline says that there is none.
func (w *wire) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is nil: this context only says to whom a callback belongs.
func (w *wire) Done() <-chan struct{} { return nil }

// Err is nil.
func (w *wire) Err() error { return nil }

// Value is nil.
func (w *wire) Value(any) any { return nil }

// attach is called when netpoll has been given the socket, and before it watches it.
func (w *wire) attach(np netpoll.Connection) {
	_ = np.SetWriteTimeout(w.timeout)
	_ = np.AddCloseCallback(func(netpoll.Connection) error { // neither ever fails
		w.gone()
		return nil
	})
	w.mu.Lock()
	w.np = np
	w.mu.Unlock()
	w.reading.Lock()
	w.input = true
	w.reading.Unlock()
}

// take passes everything that was read on. It leaves nothing unread, or netpoll
// would call again and again.
func (w *wire) take() {
	defer func() {
		if v := recover(); v != nil {
			w.conn.Close(fmt.Errorf("read: %v", v))
		}
	}()
	w.reading.Lock()
	defer w.reading.Unlock()
	if !w.input {
		return
	}
	input := w.np.Reader() // np stays what it is
	for input.Len() > 0 {
		p, err := input.Next(input.Len())
		if err != nil {
			w.conn.ReadEnded(err)
			return
		}
		w.conn.Receive(p)
		_ = input.Release() // the bytes were copied
	}
}

// Rest gives the input buffer back. netpoll's Release does that when it is called
// outside the poller's turn with this socket, so not when take calls it.
func (w *wire) Rest() {
	w.reading.Lock()
	defer w.reading.Unlock()
	if !w.input {
		return
	}
	if input := w.np.Reader(); input.Len() == 0 {
		_ = input.Release() // never fails
	}
}

// gone is netpoll's close callback: it runs before the one that closes fd, and not
// at the same time as take.
func (w *wire) gone() {
	w.take()
	w.reading.Lock()
	w.input = false
	w.reading.Unlock()
	w.mu.Lock()
	w.open = false
	w.mu.Unlock()
	w.conn.ReadEnded(io.EOF)
	w.conn.Start() // netpoll may have failed before it could be started
	if w.hub != nil {
		w.hub.gone()
	}
}

// discard closes a socket that netpoll never got.
func (w *wire) discard() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open && w.np == nil {
		w.open = false
		_ = syscall.Close(w.fd)
	}
}
