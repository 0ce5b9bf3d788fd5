package stdnet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
	"trefoil/concrete/internal/sock"
)

// tlsClient opens protected connections to one address.
type tlsClient struct {
	addr string
	cfg  *abstract.TransportConfig
	tls  *TLS
	dial func(context.Context) (net.Conn, error)
}

var _ abstract.BaseClient = (*tlsClient)(nil)

// NewTLSClient makes a client of the TLS server at addr, as NewClient does. With
// "unix:/path" the TLSConfig must give a ServerName.
func NewTLSClient(addr string, cfg abstract.TransportConfig, t *TLS) abstract.BaseClient {
	plain := &client{addr: addr, cfg: link.Defaults(cfg)}
	return NewTLSClientOn(addr, cfg, t, plain.dial)
}

// NewTLSClientOn is NewTLSClient over other connections than those of the system: dial opens
// one to addr. The connections need deadlines.
func NewTLSClientOn(addr string, cfg abstract.TransportConfig, t *TLS, dial func(context.Context) (net.Conn, error)) abstract.BaseClient {
	return &tlsClient{addr, link.Defaults(cfg), t, dial}
}

// Connect opens a connection and shakes hands, within the time that ctx gives. A
// server that does not take our certificate says so only after Connect: the
// connection then ends with an error of code Denied.
func (c *tlsClient) Connect(ctx context.Context) (abstract.BaseConnection, error) {
	if err := link.Check(c.cfg); err != nil {
		return nil, err
	}
	raw, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	nc, err := c.shake(ctx, raw)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	conn := &tlsConn{peer: verified(nc)}
	cfg := *c.cfg
	cfg.OnOpen = func(abstract.BaseConnection) abstract.Receiver { return c.cfg.OnOpen(conn) }
	conn.Conn = link.NewReading(&cfg, &tlsWire{nc, cfg.WriteTimeout}, nil)
	conn.Open()
	conn.Start()
	go conn.Read(newTLSSource(nc, sock.ClientBuffer))
	return conn, nil
}

func (c *tlsClient) shake(ctx context.Context, raw net.Conn) (*tls.Conn, error) {
	network, address := split(c.addr)
	host := ""
	if network == "tcp" {
		var err error
		if host, _, err = net.SplitHostPort(address); err != nil {
			host = address // a name in a network without ports
		}
	}
	cfg := c.tls.clientConfig(host)
	if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
		return nil, &abstract.Error{Code: abstract.InvalidParams, Op: "connect " + c.addr, Sent: abstract.SentNo,
			Message: "tls: give the name that is in the server's certificate, as ServerName"}
	}
	ctx, cancel := context.WithTimeout(ctx, c.tls.cfg.HandshakeTimeout)
	defer cancel()
	nc := tls.Client(raw, cfg)
	if err := nc.HandshakeContext(ctx); err != nil {
		return nil, c.handshakeError(err)
	}
	if got := nc.ConnectionState().NegotiatedProtocol; got != ALPN {
		return nil, &abstract.Error{Code: abstract.Unavailable, Op: "connect " + c.addr, Sent: abstract.SentNo,
			Message: fmt.Sprintf("the server does not say that it speaks %s; check the address", ALPN)}
	}
	return nc, nil
}

func (c *tlsClient) handshakeError(err error) error {
	var untrusted *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var header tls.RecordHeaderError
	var op *net.OpError
	e := &abstract.Error{Code: abstract.Unavailable, Err: err}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		e = &abstract.Error{Code: abstract.Timeout, Err: err, Message: "the server did not end the handshake of TLS; check that it speaks TLS at this address"}
		if errors.Is(err, context.Canceled) {
			e.Code = abstract.Cancelled
		}
	case errors.As(err, &untrusted), errors.As(err, &unknown):
		e.Code, e.Message = abstract.Denied, "the server's certificate cannot be trusted; check the root CA file and the server name"
	case errors.As(err, &header), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		e.Message = "the server does not seem to speak TLS at this address"
	case errors.As(err, &op) && op.Op == "remote error":
		e = refusal("", err)
	default:
		e.Message = "the handshake of TLS failed"
	}
	e.Op, e.Sent = "connect "+c.addr, abstract.SentNo
	return e
}
