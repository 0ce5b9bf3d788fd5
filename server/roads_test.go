package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trefoil/business/access"
	"trefoil/concrete/mem"
	"trefoil/concrete/stdnet"
	"trefoil/server"
)

// guardBy is a guard by a policy, and a token for each identity.
func guardBy(t *testing.T, policy string, identities ...string) (*access.Guard, map[string]string) {
	t.Helper()
	p, err := access.ParsePolicy([]byte(policy))
	require.NoError(t, err)
	tokens := map[string]string{}
	var entries []access.Entry
	for _, name := range identities {
		token, entry, err := access.NewToken(name, "", time.Time{})
		require.NoError(t, err)
		tokens[name] = token.Reveal()
		entries = append(entries, entry)
	}
	file, err := access.NewTokens(entries...)
	require.NoError(t, err)
	return access.NewGuard(p, file), tokens
}

// authority signs the certificates of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.file = a.write(a.cert.Raw, "CERTIFICATE")
	return a
}

// sign signs a certificate; the first one is the authority's own.
func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	if c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	require.NoError(a.t, err)
	c.NotBefore = c.NotAfter.Add(-2 * time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	signed, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return signed, key
}

// issue makes a certificate for a name, good for 127.0.0.1 and as a client's, and
// returns its files. end: when it ends; zero is in an hour.
func (a *authority) issue(name string, end time.Time) (certFile, keyFile string) {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: end, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	return a.write(cert.Raw, "CERTIFICATE"), a.write(der, "PRIVATE KEY")
}

func (a *authority) write(der []byte, kind string) string {
	a.t.Helper()
	name := filepath.Join(a.t.TempDir(), "file.pem")
	require.NoError(a.t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return name
}

func newTLS(t *testing.T, cfg stdnet.TLSConfig) *stdnet.TLS {
	t.Helper()
	cfg.Logger = quietLog()
	out, err := stdnet.NewTLS(cfg)
	require.NoError(t, err)
	return out
}

// road is one way to a broker: a transport, and what protects it.
type road struct {
	name string
	// byCertificate: who somebody is, is said by a certificate and not by a token.
	byCertificate bool
	// open starts a broker and returns how to connect to it, as somebody where
	// certificates say who that is.
	open func(t *testing.T, opts ...server.Option) (b *server.Broker, dial func(who string) net.Conn)
}

// roads are all of them.
func roads() []road {
	list := []road{
		{name: "standard net", open: plainRoad("127.0.0.1:0", server.StandardNet)},
		{name: "tls", open: tlsRoad(false)},
		{name: "mtls", byCertificate: true, open: tlsRoad(true)},
		{name: "mem", open: memRoad},
	}
	if runtime.GOOS != "windows" {
		list = append(list,
			road{name: "netpoll", open: plainRoad("127.0.0.1:0", server.Netpoll)},
			road{name: "unix socket", open: func(t *testing.T, opts ...server.Option) (*server.Broker, func(string) net.Conn) {
				dir, err := os.MkdirTemp("", "road") //nolint:usetesting // a test's own folder may have too long a name
				require.NoError(t, err)
				t.Cleanup(func() { _ = os.RemoveAll(dir) })
				return plainRoad("unix:"+dir+"/socket", server.StandardNet)(t, opts...)
			}})
	}
	return list
}

func plainRoad(addr string, transport server.Transport) func(*testing.T, ...server.Option) (*server.Broker, func(string) net.Conn) {
	return func(t *testing.T, opts ...server.Option) (*server.Broker, func(string) net.Conn) {
		b := serve(t, server.NewBroker(addr, append(opts, server.WithTransport(transport))...))
		return b, func(string) net.Conn {
			nc, err := net.Dial(b.Addr().Network(), b.Addr().String())
			require.NoError(t, err)
			return nc
		}
	}
}

func tlsRoad(mutual bool) func(*testing.T, ...server.Option) (*server.Broker, func(string) net.Conn) {
	return func(t *testing.T, opts ...server.Option) (*server.Broker, func(string) net.Conn) {
		ca := newAuthority(t)
		cfg := stdnet.TLSConfig{RequireClientCert: mutual}
		cfg.CertFile, cfg.KeyFile = ca.issue("broker", time.Time{})
		if mutual {
			cfg.ClientCAFile = ca.file
		}
		b := serve(t, newBroker(append(opts, server.WithTLS(newTLS(t, cfg)))...))
		trusted := x509.NewCertPool()
		trusted.AddCert(ca.cert)
		return b, func(who string) net.Conn {
			mine := &tls.Config{RootCAs: trusted, NextProtos: []string{stdnet.ALPN}, MinVersion: tls.VersionTLS13}
			if mutual {
				pair, err := tls.LoadX509KeyPair(ca.issue(who, time.Time{}))
				require.NoError(t, err)
				mine.Certificates = []tls.Certificate{pair}
			}
			nc, err := tls.Dial("tcp", b.Addr().String(), mine)
			require.NoError(t, err)
			return nc
		}
	}
}

func memRoad(t *testing.T, opts ...server.Option) (*server.Broker, func(string) net.Conn) {
	network := mem.NewNetwork()
	b := serve(t, server.NewBroker("broker", append(opts, server.WithTransport(network.Server))...))
	return b, func(string) net.Conn {
		nc, err := network.Dial(t.Context(), "broker")
		require.NoError(t, err)
		return nc
	}
}

// talker is a peer that speaks bytes over any road, and keeps all that it hears.
type talker struct {
	t    *testing.T
	nc   net.Conn
	got  chan frame // closed with the connection
	last int

	mu    sync.Mutex
	heard strings.Builder
}

func newTalker(t *testing.T, nc net.Conn) *talker {
	t.Helper()
	p := &talker{t: t, nc: nc, got: make(chan frame, 256)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(p.got)
		for p.read() {
		}
	}()
	t.Cleanup(func() {
		_ = nc.Close()
		for range p.got { // which nobody waits for
		}
		<-ended
	})
	return p
}

func (p *talker) read() bool {
	var head [12]byte
	if _, err := io.ReadFull(p.nc, head[:]); err != nil {
		return false
	}
	rest := make([]byte, binary.BigEndian.Uint32(head[:4])-8)
	if _, err := io.ReadFull(p.nc, rest); err != nil {
		return false
	}
	p.mu.Lock()
	p.heard.Write(rest)
	p.mu.Unlock()
	n := binary.BigEndian.Uint32(head[8:])
	if head[7] == 18 { // a ping: the test may be asking others meanwhile
		_, _ = p.nc.Write(frame{19, string(rest[:n]), `{}`}.bytes())
		return true
	}
	p.got <- frame{int32(binary.BigEndian.Uint32(head[4:])), string(rest[:n]), string(rest[n:])}
	return true
}

// all is everything that was heard.
func (p *talker) all() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard.String()
}

// next is the next message that is not a ping; not ok: the connection is closed.
func (p *talker) next() (f frame, ok bool) {
	p.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case f, ok = <-p.got:
		return f, ok
	case <-timer.C:
		require.FailNow(p.t, "the server neither answered nor closed")
		return f, false
	}
}

func (p *talker) write(f frame) {
	p.t.Helper()
	_, err := p.nc.Write(f.bytes())
	require.NoError(p.t, err)
}

// ask sends a request, whose answer is the next thing that comes.
func (p *talker) ask(mtype int32, body string) frame {
	p.t.Helper()
	p.last++
	id := sprintf("q%d", p.last)
	p.write(frame{mtype, id, body})
	f, ok := p.next()
	require.True(p.t, ok, "the server closed the connection on %s", body)
	require.Equal(p.t, id, f.id, "something else has come than the answer to %s: %+v", body, f)
	return f
}

// answer is ask that passes over what was not asked for.
func (p *talker) answer(mtype int32, body string) frame {
	p.t.Helper()
	p.last++
	id := sprintf("q%d", p.last)
	p.write(frame{mtype, id, body})
	for {
		f, ok := p.next()
		require.True(p.t, ok, "the server closed the connection on %s", body)
		if f.id == id && f.mtype == mtype+1 {
			return f
		}
	}
}

// greet says HELLO, and returns the answer.
func (p *talker) greet(more string) frame {
	p.t.Helper()
	return p.ask(16, `{"version":1,"agent":"test","max_frame":8388608`+more+`}`)
}

// hello says HELLO with a token, where one is given.
func (p *talker) hello(token string) *talker {
	p.t.Helper()
	more := ""
	if token != "" {
		more = sprintf(`,"token":%q`, token)
	}
	require.Zero(p.t, p.greet(more).rcode())
	return p
}

// closed waits for the connection's end.
func (p *talker) closed() {
	p.t.Helper()
	for {
		f, ok := p.next()
		if !ok {
			return
		}
		require.Equal(p.t, int32(20), f.mtype, "got %+v", f)
	}
}
