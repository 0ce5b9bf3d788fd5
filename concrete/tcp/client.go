//go:build linux || darwin

package tcp

import (
	"context"
	"net"

	"github.com/cloudwego/netpoll"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
)

// client opens connections to one address.
type client struct {
	addr string
	cfg  *abstract.TransportConfig
}

var _ abstract.BaseClient = (*client)(nil)

// NewClient makes a client of the server at addr, "host:port". Its connections are
// read by netpoll, on a goroutine while there is something to read.
func NewClient(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
	return &client{addr: addr, cfg: link.Defaults(cfg)}
}

// Connect opens a connection, within the time that ctx gives.
func (c *client) Connect(ctx context.Context) (abstract.BaseConnection, error) {
	if err := link.Check(c.cfg); err != nil {
		return nil, err
	}
	if err := configure(); err != nil {
		return nil, link.ConnectError(c.addr, err)
	}
	d := net.Dialer{KeepAliveConfig: link.KeepAlive()}
	nc, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, link.ConnectError(c.addr, err)
	}
	link.Tune(nc, c.cfg.WriteTimeout)
	w, err := newWire(nc, c.cfg.WriteTimeout)
	if err != nil {
		return nil, link.ConnectError(c.addr, err)
	}
	w.conn = link.New(c.cfg, w, nil)
	w.conn.Open()
	if err := w.watch(); err != nil {
		w.conn.Close(link.ConnectError(c.addr, err))
	}
	w.conn.Start()
	return w.conn, nil
}

// watch gives the socket to netpoll, which watches it at once: data, or the end,
// may come before our callbacks are there.
func (w *wire) watch() error {
	np, err := w.register()
	if err != nil {
		return err
	}
	w.attach(np)
	err = np.SetOnRequest(func(context.Context, netpoll.Connection) error { // is called at once for data that came before
		w.take()
		return nil
	})
	if err != nil {
		return err
	}
	if !np.IsActive() {
		// The peer closed, and netpoll may have found nobody to tell: closing again
		// makes it tell. The poller has let go of the socket by now.
		_ = np.Close()
	}
	return nil
}

// register makes netpoll the owner of the socket. When it fails, it has closed it.
func (w *wire) register() (netpoll.Connection, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	np, err := netpoll.NewFDConnection(w.fd)
	w.open = err == nil
	return np, err
}
