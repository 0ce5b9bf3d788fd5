package stdnet

import (
	"context"
	"fmt"
	"net"
	"os"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
	"trefoil/concrete/internal/sock"
)

// NewServer makes a server for addr: "host:port", with port 0 for any free one, or
// "unix:/path". The socket file of a server that is gone is replaced.
func NewServer(addr string, cfg abstract.TransportConfig) abstract.BaseServer {
	return link.NewServer(link.Defaults(cfg), &driver{addr: addr})
}

// driver makes a link.Server of an address.
type driver struct{ addr string }

var _ link.Driver = (*driver)(nil)

// Listen binds the address.
func (d *driver) Listen() (net.Listener, error) {
	network, address := split(d.addr)
	if network == "unix" {
		return listenUnix(address)
	}
	lc := net.ListenConfig{KeepAliveConfig: link.KeepAlive()}
	ln, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", d.addr, err)
	}
	return ln, nil
}

func listenUnix(path string) (net.Listener, error) {
	if err := clearSocket(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen at unix:%s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("protect socket file: %w", err)
	}
	return ln, nil
}

// Adopt starts a connection with a reading goroutine of its own.
func (d *driver) Adopt(s *link.Server, nc net.Conn) error {
	w := sock.NewWire(nc, s.Config().WriteTimeout)
	conn, ok := s.AdmitReading(w)
	if !ok {
		_ = nc.Close()
		return nil
	}
	go func() {
		link.Tune(nc, s.Config().WriteTimeout)
		conn.Open()
		conn.Read(sock.NewSource(nc, sock.ServerBuffer))
	}()
	return nil
}
