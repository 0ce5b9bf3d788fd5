package stdnet_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
	"trefoil/concrete/stdnet"
)

// authority signs certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{key: newKey(t), file: filepath.Join(t.TempDir(), name+".pem")}
	a.cert = a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, &a.key.PublicKey)
	writePEM(t, a.file, "CERTIFICATE", a.cert.Raw)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func (a *authority) sign(t testing.TB, c *x509.Certificate, pub *ecdsa.PublicKey) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	c.SerialNumber = serial
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent := a.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, a.key)
	require.NoError(t, err)
	out, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return out
}

// issue writes a certificate for a name to a folder, and returns the two files.
func (a *authority) issue(t testing.TB, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key := newKey(t)
	cert := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost", name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, &key.PublicKey)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	writePEM(t, certFile, "CERTIFICATE", cert.Raw)
	writePEM(t, keyFile, "EC PRIVATE KEY", der)
	return certFile, keyFile
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newTLS(t testing.TB, cfg stdnet.TLSConfig) *stdnet.TLS {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	out, err := stdnet.NewTLS(cfg)
	require.NoError(t, err)
	return out
}

// sides are the settings of a server and of a client that trust each other.
func sides(t testing.TB) (ca *authority, server, client stdnet.TLSConfig) {
	t.Helper()
	ca = newAuthority(t, "ca")
	server.CertFile, server.KeyFile = ca.issue(t, t.TempDir(), "server")
	server.Logger = quiet()
	client.RootCAFile = ca.file
	client.Logger = quiet()
	return ca, server, client
}

// overTLS opens the transport of the suite. Clients show no certificate there:
// that takes time, and changes nothing after the handshake.
func overTLS(addr func(t testing.TB) string) transporttest.Open {
	return func(t testing.TB, server, client abstract.TransportConfig) transporttest.Transport {
		ca, s, c := sides(t)
		at := addr(t)
		srv := stdnet.NewTLSServer(at, server, newTLS(t, s))
		require.NoError(t, srv.Listen())
		at = srv.Addr().String()
		return transporttest.Transport{
			Server:    srv,
			Client:    stdnet.NewTLSClient(at, client, newTLS(t, c)),
			Throttles: true,
			Dial: func(t testing.TB) net.Conn {
				nc, err := tls.Dial("tcp", at, &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"})
				require.NoError(t, err)
				return nc
			},
		}
	}
}

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "waited in vain for "+what)
		panic("unreachable")
	}
}

// keeper is a Receiver that keeps what it gets.
type keeper struct {
	conn   abstract.BaseConnection
	got    chan abstract.BaseMessage
	closed chan error
}

func (k *keeper) OnMessages(batch []abstract.BaseMessage) {
	for _, m := range batch {
		k.got <- m
	}
}

func (k *keeper) OnClose(err error) { k.closed <- err }

// keeping is a transport's settings, and the connections that it opens.
func keeping() (abstract.TransportConfig, <-chan *keeper) {
	opened := make(chan *keeper, 64)
	return abstract.TransportConfig{Protocol: transporttest.Protocol{}, Logger: quiet(), OnOpen: func(c abstract.BaseConnection) abstract.Receiver {
		k := &keeper{conn: c, got: make(chan abstract.BaseMessage, 64), closed: make(chan error, 1)}
		opened <- k
		return k
	}}, opened
}

// serve runs a server at any port until the test's end.
func serve(t testing.TB, material *stdnet.TLS) (addr string, opened <-chan *keeper) {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", material)
}

func serveAt(t testing.TB, at string, material *stdnet.TLS) (addr string, opened <-chan *keeper) {
	t.Helper()
	cfg, opened := keeping()
	srv := stdnet.NewTLSServer(at, cfg, material)
	require.NoError(t, srv.Listen())
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, srv.Shutdown(ctx))
		require.NoError(t, await(t, served, "Serve to return"))
	})
	return srv.Addr().String(), opened
}

// dial connects a client, and closes what it opened at the test's end.
func dial(t testing.TB, addr string, material *stdnet.TLS) (*keeper, error) {
	t.Helper()
	cfg, opened := keeping()
	conn, err := stdnet.NewTLSClient(addr, cfg, material).Connect(t.Context())
	if err != nil {
		return nil, err
	}
	k := await(t, opened, "the client's OnOpen")
	require.Equal(t, conn, k.conn, "OnOpen and Connect tell of the same connection")
	t.Cleanup(func() {
		conn.Close(nil)
		await(t, conn.Done(), "the client's end")
	})
	return k, nil
}

// ended reads until the peer ends the connection, and returns how.
func ended(nc net.Conn) error {
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, nc)
	return err
}
