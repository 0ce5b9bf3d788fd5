package stdnet

import (
	"context"
	"net"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
	"trefoil/concrete/internal/sock"
)

// client opens connections to one address.
type client struct {
	addr string
	cfg  *abstract.TransportConfig
}

var _ abstract.BaseClient = (*client)(nil)

// NewClient makes a client of the server at addr: "host:port" or "unix:/path".
func NewClient(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
	return &client{addr: addr, cfg: link.Defaults(cfg)}
}

// Connect opens a connection, within the time that ctx gives.
func (c *client) Connect(ctx context.Context) (abstract.BaseConnection, error) {
	if err := link.Check(c.cfg); err != nil {
		return nil, err
	}
	nc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	conn := link.NewReading(c.cfg, sock.NewWire(nc, c.cfg.WriteTimeout), nil)
	conn.Open()
	conn.Start() // what is sent from now on is written
	go conn.Read(sock.NewSource(nc, sock.ClientBuffer))
	return conn, nil
}

// dial opens the socket of a connection.
func (c *client) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: link.KeepAlive()}
	network, address := split(c.addr)
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, link.ConnectError(c.addr, err)
	}
	link.Tune(nc, c.cfg.WriteTimeout)
	return nc, nil
}
