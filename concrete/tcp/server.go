//go:build linux || darwin

package tcp

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
	"trefoil/concrete/internal/sock"
)

// NewServer makes a server for addr, "host:port", with port 0 for any free one.
func NewServer(addr string, cfg abstract.TransportConfig) abstract.BaseServer {
	filled := link.Defaults(cfg)
	d := &driver{addr: addr, cfg: filled, served: defaultServed}
	if cfg.Served != 0 {
		d.served = int64(cfg.Served)
	}
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

	served  int64        // connections that may have a goroutine
	serving atomic.Int64 // those that have one

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

// defaultServed is how many connections get a goroutine that reads and handles:
// with few connections a hand-over from the poller costs more than anything that
// netpoll saves. Each takes the stack of a goroutine, some 10 KiB, while it is idle.
const defaultServed = 64

// serve makes a connection with a goroutine of its own.
func (d *driver) serve(s *link.Server, nc net.Conn) {
	free := func() { d.serving.Add(-1) }
	conn, ok := s.AdmitServing(sock.NewWire(nc, d.cfg.WriteTimeout), free)
	if !ok {
		free()
		_ = nc.Close()
		return
	}
	go func() {
		conn.Open()
		conn.Serve(sock.NewSource(nc, sock.ServerBuffer))
	}()
}

// Adopt makes a connection and gives its socket to netpoll.
func (d *driver) Adopt(s *link.Server, nc net.Conn) error {
	link.Tune(nc, d.cfg.WriteTimeout)
	if d.serving.Add(1) <= d.served {
		d.serve(s, nc)
		return nil
	}
	d.serving.Add(-1)
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
