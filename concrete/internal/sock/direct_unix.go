//go:build linux || darwin

package sock

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"trefoil/concrete/internal/link"
)

// directWriter writes to the socket without waiting. Its one user is the owner of
// the connection's write side.
type directWriter struct {
	raw  syscall.RawConn // nil when the connection has no socket of its own
	try  func(fd uintptr) bool
	bufs [][]byte
	n    int
	err  error
}

func (d *directWriter) init(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	d.raw = raw
	d.try = func(fd uintptr) bool {
		d.n, d.err = link.WriteFD(int(fd), d.bufs)
		return true // done, written or not: do not wait
	}
}

func (d *directWriter) tryWrite(bufs [][]byte) (int, error) {
	if d.raw == nil {
		return 0, nil
	}
	d.bufs = bufs
	err := d.raw.Write(d.try)
	d.bufs = nil
	if err != nil {
		return 0, err
	}
	if d.err != nil {
		return 0, os.NewSyscallError("write", d.err)
	}
	return d.n, nil
}

type readBuffer [fullBuffer]byte

var readBuffers = sync.Pool{New: func() any { return new(readBuffer) }}

// socketSource takes a buffer only when there is something to read.
type socketSource struct {
	raw syscall.RawConn
	try func(fd uintptr) bool
	buf *readBuffer
	n   int
	err error
}

// NewSource reads the socket without holding a buffer while it waits.
func NewSource(nc net.Conn, small int) link.Source {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return newPlainSource(nc, small)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return newPlainSource(nc, small)
	}
	s := &socketSource{raw: raw}
	s.try = s.read
	return s
}

// read reports false when nothing is there, and is called again when something is.
func (s *socketSource) read(fd uintptr) bool {
	if s.buf == nil {
		s.buf = readBuffers.Get().(*readBuffer)
	}
	s.n, s.err = link.ReadFD(int(fd), s.buf[:])
	if s.err != syscall.EAGAIN {
		return true
	}
	s.release()
	return false
}

func (s *socketSource) release() {
	if s.buf != nil {
		readBuffers.Put(s.buf)
		s.buf = nil
	}
}

// Give lets go of the buffer when most of it is filled.
func (s *socketSource) Give() bool {
	if s.n < keepFrom {
		return false
	}
	s.buf = nil
	return true
}

// keepFrom is how much of a read buffer must be filled for it to be kept as it is: so
// at most half as much memory again is held as there are bytes.
const keepFrom = fullBuffer / 3 * 2

// Next waits for bytes.
func (s *socketSource) Next() ([]byte, error) {
	s.release()
	s.n, s.err = 0, nil
	if err := s.raw.Read(s.try); err != nil {
		s.release()
		return nil, err
	}
	switch {
	case s.err != nil:
		s.release()
		return nil, os.NewSyscallError("read", s.err)
	case s.n == 0:
		s.release()
		return nil, io.EOF
	}
	return s.buf[:s.n:s.n], nil
}
