package stdnet

import (
	"crypto/tls"
	"net"
	"sync"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
	"trefoil/concrete/internal/sock"
)

// NewTLSServer makes a server for addr whose connections are protected, as
// NewServer does. OnOpen is called when the handshake is over; PeerCertificates then
// says who the peer is.
func NewTLSServer(addr string, cfg abstract.TransportConfig, t *TLS) abstract.BaseServer {
	return NewTLSServerOn(addr, cfg, t, (&driver{addr: addr}).Listen)
}

// NewTLSServerOn is NewTLSServer over other connections than those of the system: listen
// takes addr, and is called when the server listens. The connections need deadlines.
func NewTLSServerOn(addr string, cfg abstract.TransportConfig, t *TLS, listen func() (net.Listener, error)) abstract.BaseServer {
	d := &tlsDriver{addr: addr, listen: listen, tls: t}
	if cfg.OnOpen != nil {
		d.onOpen, cfg.OnOpen = cfg.OnOpen, d.open
	}
	return link.NewServer(link.Defaults(cfg), d)
}

// tlsDriver makes a link.Server of an address and certificates.
type tlsDriver struct {
	addr   string
	listen func() (net.Listener, error)
	tls    *TLS
	onOpen func(abstract.BaseConnection) abstract.Receiver
	opens  sync.Map // *link.Conn to *tls.Conn, from Adopt until OnOpen
}

var _ link.Driver = (*tlsDriver)(nil)

// Listen binds the address.
func (d *tlsDriver) Listen() (net.Listener, error) {
	if lacks := d.tls.serves(); lacks != "" {
		return nil, &abstract.Error{Code: abstract.InvalidParams, Op: "listen at " + d.addr, Message: lacks}
	}
	ln, err := d.listen()
	if err != nil {
		return nil, err
	}
	return newHandshakes(ln, d.tls), nil
}

// Adopt starts a connection whose handshake is over.
func (d *tlsDriver) Adopt(s *link.Server, nc net.Conn) error {
	tc := nc.(*tls.Conn) // our listener accepts nothing else
	conn, ok := s.AdmitReading(&tlsWire{tc, s.Config().WriteTimeout})
	if !ok {
		_ = tc.NetConn().Close()
		return nil
	}
	go func() {
		d.opens.Store(conn, tc)
		conn.Open()
		conn.Read(newTLSSource(tc, sock.ServerBuffer))
	}()
	return nil
}

// open calls the user's OnOpen with a connection that knows its peer.
func (d *tlsDriver) open(conn abstract.BaseConnection) abstract.Receiver {
	lc := conn.(*link.Conn)
	tc, _ := d.opens.LoadAndDelete(lc)
	return d.onOpen(&tlsConn{Conn: lc, peer: verified(tc.(*tls.Conn))})
}
