package stdnet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
	"trefoil/concrete/internal/sock"
)

// PeerCertificates returns the chain by which the peer of a connection proved who
// it is, its own certificate first and the trusted one last. It is nil for a peer
// that showed none, and for connections without TLS. The chain was verified when
// the connection began.
func PeerCertificates(conn abstract.BaseConnection) []*x509.Certificate {
	if v, ok := conn.(interface{ PeerCertificates() []*x509.Certificate }); ok {
		return v.PeerCertificates()
	}
	return nil
}

// tlsConn is a connection that knows who its peer is.
type tlsConn struct {
	*link.Conn
	peer []*x509.Certificate
}

var _ abstract.BaseConnection = (*tlsConn)(nil)

// PeerCertificates is what the function of that name returns.
func (c *tlsConn) PeerCertificates() []*x509.Certificate { return c.peer }

// verified is the chain that a finished handshake has verified.
func verified(nc *tls.Conn) []*x509.Certificate {
	if chains := nc.ConnectionState().VerifiedChains; len(chains) > 0 {
		return chains[0]
	}
	return nil
}

// recordBytes is the most that one record of TLS holds.
const recordBytes = 16 << 10

var records = sync.Pool{New: func() any { return new([recordBytes]byte) }}

// tlsWire moves the bytes of a connection through TLS.
type tlsWire struct {
	*tls.Conn
	timeout time.Duration
}

var _ link.Wire = (*tlsWire)(nil)

// TryWrite does not try: TLS cannot write a part of a record.
func (w *tlsWire) TryWrite([][]byte) (int, error) { return 0, nil }

// Write blocks until the socket has taken everything, for the write timeout at
// most. Small pieces share a record, and so a system call.
func (w *tlsWire) Write(bufs [][]byte) error {
	if err := w.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return err
	}
	record := records.Get().(*[recordBytes]byte)
	defer records.Put(record)
	n := 0
	for _, p := range bufs {
		if n+len(p) > recordBytes {
			if err := w.write(record[:n]); err != nil {
				return err
			}
			n = 0
		}
		if len(p) >= recordBytes {
			if err := w.write(p); err != nil {
				return err
			}
			continue
		}
		n += copy(record[n:], p)
	}
	return w.write(record[:n])
}

func (w *tlsWire) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := w.Conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return link.WriteTimeout(w.timeout)
	}
	return err
}

// sayEnd bounds how long the end of a connection waits for room in the socket.
const sayEnd = 500 * time.Millisecond

// CloseWrite tells the peer that nothing more comes, with close_notify.
func (w *tlsWire) CloseWrite() error {
	t := time.AfterFunc(sayEnd, func() { _ = w.Close() }) // TLS itself would wait for 5 s
	defer t.Stop()
	return w.Conn.CloseWrite()
}

// Close closes the socket. It never blocks, so it says nothing to the peer, who
// takes the end of the socket for the end.
func (w *tlsWire) Close() error { return w.NetConn().Close() }

// tlsSource reads from TLS.
type tlsSource struct{ link.Source }

func newTLSSource(nc *tls.Conn, small int) link.Source { return tlsSource{sock.NewSource(nc, small)} }

// Next waits for bytes.
func (s tlsSource) Next() ([]byte, error) {
	p, err := s.Source.Next()
	return p, readError(err)
}

// readError puts what TLS says into our words. A socket that ends inside a record
// has been closed in a hurry, and ends a connection like any other: what matters is
// whether frames are whole, and that is looked at elsewhere.
func readError(err error) error {
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return io.EOF
	case !errors.As(err, &op):
		return err
	case op.Op == "remote error": // an alert of the peer
		return refusal("read", err)
	case op.Op == "local error": // what came is no TLS, or was changed on its way
		return &abstract.Error{Code: abstract.InvalidMessage, Op: "read", Err: err,
			Message: "what came is not protected as it was agreed; the connection cannot be trusted"}
	}
	return err
}

// refusal is the error of a peer that ended TLS with an alert.
func refusal(op string, err error) *abstract.Error {
	if strings.Contains(err.Error(), "certificate") {
		return &abstract.Error{Code: abstract.Denied, Op: op, Err: err, FromPeer: true,
			Message: "the peer does not accept our certificate, or wants one; give a certificate that it trusts"}
	}
	return &abstract.Error{Code: abstract.Unavailable, Op: op, Err: err, FromPeer: true,
		Message: "the peer refuses to speak TLS with us; both sides need TLS 1.3 and " + ALPN}
}
