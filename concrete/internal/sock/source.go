package sock

import (
	"net"

	"trefoil/concrete/internal/link"
)

// How large the first buffers of a connection are, where it holds them at all.
const (
	ServerBuffer = 4 << 10  // what a server's idle connection holds, where it must hold something
	ClientBuffer = 64 << 10 // clients are few
	fullBuffer   = 64 << 10
	calmReads    = 64 // small reads in a row, after which a grown buffer is given back
)

// plainSource reads with a buffer that grows under load.
type plainSource struct {
	nc    net.Conn
	small int
	buf   []byte
	calm  int
}

var _ link.Source = (*plainSource)(nil)

func newPlainSource(nc net.Conn, small int) *plainSource {
	return &plainSource{nc: nc, small: small, buf: make([]byte, small)}
}

// Next waits for bytes.
func (s *plainSource) Next() ([]byte, error) {
	n, err := s.nc.Read(s.buf)
	got := s.buf[:n]
	s.resize(n)
	return got, err
}

// resize chooses the buffer of the next read after one of n bytes.
func (s *plainSource) resize(n int) {
	switch {
	case n == len(s.buf) && n < fullBuffer:
		s.buf = make([]byte, min(4*n, fullBuffer))
		s.calm = 0
	case n > s.small:
		s.calm = 0
	case len(s.buf) > s.small:
		if s.calm++; s.calm >= calmReads {
			s.buf = make([]byte, s.small)
			s.calm = 0
		}
	}
}
