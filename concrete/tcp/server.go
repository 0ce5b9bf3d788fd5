//go:build linux || darwin

package tcp

import (
	"context"
	"fmt"
	"net"
	"sync"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
)

// NewServer makes a server for addr, "host:port", with port 0 for any free one.
func NewServer(addr string, cfg abstract.TransportConfig) abstract.BaseServer {
	filled := link.Defaults(cfg)
	d := &driver{addr: addr, cfg: filled}
	return &server{Server: link.NewServer(filled, d), driver: d}
}

// server adds the end of the event loop to link.Server.
type server struct {
	*link.Server
	driver *driver
}

// Shutdown stops accepting, closes every connection as its Shutdown does, and
// waits for their Receivers' OnClose until ctx ends.
func (s *server) Shutdown(ctx context.Context) error {
	err := s.Server.Shutdown(ctx)
	stopped := make(chan struct{})
	go func() { // ends when the last socket is gone, which waits for no Receiver
		defer close(stopped)
		s.driver.stop()
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
	}
	return err
}

// driver makes a link.Server of an address. Connections are accepted by Go's net,
// and then given to netpoll.
type driver struct {
	addr string
	cfg  *abstract.TransportConfig

	mu  sync.Mutex
	hub *hub
}

var _ link.Driver = (*driver)(nil)

// Listen binds the address and starts the event loop.
func (d *driver) Listen() (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: link.KeepAlive()}
	ln, err := lc.Listen(context.Background(), "tcp", d.addr)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", d.addr, err)
	}
	h, err := newHub()
	if err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("start netpoll for %s: %w", d.addr, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hub = h
	return ln, nil
}

// Adopt makes a connection and gives its socket to netpoll.
func (d *driver) Adopt(s *link.Server, nc net.Conn) error {
	link.Tune(nc)
	w, err := newWire(nc, d.cfg.WriteTimeout)
	if err != nil {
		return fmt.Errorf("take over the connection of %v: %w", nc.RemoteAddr(), err)
	}
	conn, ok := s.Admit(w)
	if !ok {
		w.discard()
		return nil
	}
	w.conn = conn
	conn.Open()
	d.mu.Lock()
	h := d.hub
	d.mu.Unlock()
	if !h.push(w) { // Shutdown came first
		conn.Close(nil)
		w.discard()
		conn.Start()
	}
	return nil
}

func (d *driver) stop() {
	d.mu.Lock()
	h := d.hub
	d.mu.Unlock()
	if h != nil {
		h.stop()
	}
}
