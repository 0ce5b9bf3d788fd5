package stdnet

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"trefoil/abstract"
)

// ALPN is the protocol that both sides name in the handshake of TLS. A client
// refuses a server that does not name it, so that a token never goes to another
// service with a certificate of the same name; a server also takes peers that name
// none.
const ALPN = "trefoil/1"

const (
	defaultHandshakeTimeout = 10 * time.Second
	defaultMaxHandshakes    = 1024

	// checkEvery is how often the files are looked at, at most.
	checkEvery = time.Second
)

// TLSConfig says how connections are protected. A server needs CertFile and
// KeyFile, or Base with a certificate; a client needs nothing, if the system knows
// who signed the server's certificate. TLS is never below 1.3. The files are PEM.
type TLSConfig struct {
	CertFile, KeyFile string // who we are; of a client: for servers that ask for it

	ClientCAFile      string // server: who signs clients' certificates; a client may then show one
	RequireClientCert bool   // server: a client must; needs ClientCAFile

	RootCAFile string // client: who signs servers' certificates; default: those that the system trusts
	ServerName string // client: the name in the server's certificate; default: the host that is dialled

	// Base is what else is set, and what the files leave open; nil is nothing. It is
	// copied. Its GetConfigForClient must be nil.
	Base *tls.Config

	HandshakeTimeout time.Duration // default 10 s
	// MaxHandshakes is how many handshakes a server has under way at a time; default
	// 1024. Further connections wait in the system's queue. While some wait, a
	// handshake that has taken half a second is given up, so that silent peers cannot
	// hold the others up.
	MaxHandshakes int
	Logger        *slog.Logger // default slog.Default()
}

// TLS is a TLSConfig with its files read. Servers and clients look whether the
// files have changed when a connection begins, at most once a second, and take new
// ones without a restart; connections that are there stay as they are. New files
// that are broken are reported to the Logger, and the old ones stay in use. Safe for
// concurrent use.
type TLS struct {
	cfg     TLSConfig
	current atomic.Pointer[material]

	mu      sync.Mutex
	checked time.Time
	broken  string // the files that were reported last
}

// material is what one state of the files comes to.
type material struct {
	files          string // what was in them
	server, client *tls.Config
}

// NewTLS reads the files. The error is an abstract.Error of code InvalidParams.
func NewTLS(cfg TLSConfig) (*TLS, error) {
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = defaultHandshakeTimeout
	}
	if cfg.MaxHandshakes <= 0 {
		cfg.MaxHandshakes = defaultMaxHandshakes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Base == nil {
		cfg.Base = new(tls.Config)
	}
	cfg.Base = cfg.Base.Clone()
	t := &TLS{cfg: cfg}
	if fault := cfg.fault(); fault != "" {
		return nil, abstract.Errorf(abstract.InvalidParams, "tls: %s", fault)
	}
	if err := t.Reload(); err != nil {
		return nil, err
	}
	return t, nil
}

// fault is what is wrong with the settings; empty: nothing.
func (c *TLSConfig) fault() string {
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		return "a certificate file and a key file belong together; give both or none"
	case c.RequireClientCert && c.ClientCAFile == "" && c.Base.ClientCAs == nil:
		return "clients are to show a certificate: say who signs them, with a client CA file"
	case c.Base.GetConfigForClient != nil:
		return "GetConfigForClient of a Base is not called; leave it out"
	case c.Base.MaxVersion != 0 && c.Base.MaxVersion < tls.VersionTLS13:
		return "the highest version of Base is below TLS 1.3, which is the lowest that is spoken here"
	}
	return ""
}

// Reload reads the files now. After an error the old ones stay in use.
func (t *TLS) Reload() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checked = time.Now()
	files, err := t.read()
	if err != nil {
		return err
	}
	return t.use(files)
}

// refresh reads the files again if it is time to. It waits for nobody.
func (t *TLS) refresh() {
	if !t.mu.TryLock() {
		return // somebody else does it
	}
	defer t.mu.Unlock()
	if time.Since(t.checked) < checkEvery {
		return
	}
	t.checked = time.Now()
	files, err := t.read()
	seen := files.all()
	if err == nil {
		if seen == t.current.Load().files {
			t.broken = ""
			return
		}
		err = t.use(files)
	} else {
		seen = err.Error()
	}
	switch {
	case err == nil:
		t.broken = ""
		t.cfg.Logger.Info("tls files loaded again")
	case seen != t.broken:
		t.broken = seen
		t.cfg.Logger.Error("tls files cannot be loaded again, the old ones stay in use", "err", err)
	}
}

// tlsFiles is what is in the files.
type tlsFiles struct{ cert, key, clientCA, rootCA []byte }

func (f *tlsFiles) all() string {
	return fmt.Sprintf("%d %d %d\n%s%s%s%s", len(f.cert), len(f.key), len(f.clientCA), f.cert, f.key, f.clientCA, f.rootCA)
}

func (t *TLS) read() (f tlsFiles, err error) {
	for _, file := range []struct {
		path string
		dst  *[]byte
	}{{t.cfg.CertFile, &f.cert}, {t.cfg.KeyFile, &f.key}, {t.cfg.ClientCAFile, &f.clientCA}, {t.cfg.RootCAFile, &f.rootCA}} {
		if file.path == "" {
			continue
		}
		if *file.dst, err = os.ReadFile(file.path); err != nil {
			return tlsFiles{}, &abstract.Error{Code: abstract.InvalidParams, Op: "load tls files", Err: err}
		}
	}
	return f, nil
}

// use makes configurations of the files.
func (t *TLS) use(f tlsFiles) error {
	base := t.cfg.Base.Clone()
	base.MinVersion = tls.VersionTLS13
	base.NextProtos = []string{ALPN}
	// Connections live long, so that resuming saves little; and a ticket would let in
	// who has a certificate of a CA that is no longer trusted.
	base.SessionTicketsDisabled = true
	base.ClientSessionCache = nil
	base.DynamicRecordSizingDisabled = true // small records first is for pages
	if f.cert != nil {
		pair, err := tls.X509KeyPair(f.cert, f.key)
		if err != nil {
			return badFile(t.cfg.CertFile+" with "+t.cfg.KeyFile, err)
		}
		base.Certificates = []tls.Certificate{pair}
		base.GetCertificate, base.GetClientCertificate = nil, nil
	}
	m := &material{files: f.all(), server: base, client: base.Clone()}
	var err error
	if m.server.ClientCAs, err = pool(t.cfg.ClientCAFile, f.clientCA, base.ClientCAs); err != nil {
		return err
	}
	if m.client.RootCAs, err = pool(t.cfg.RootCAFile, f.rootCA, base.RootCAs); err != nil {
		return err
	}
	switch {
	case t.cfg.RequireClientCert:
		m.server.ClientAuth = tls.RequireAndVerifyClientCert
	case f.clientCA != nil && m.server.ClientAuth < tls.VerifyClientCertIfGiven:
		m.server.ClientAuth = tls.VerifyClientCertIfGiven
	}
	t.current.Store(m)
	return nil
}

func pool(path string, pem []byte, otherwise *x509.CertPool) (*x509.CertPool, error) {
	if path == "" {
		return otherwise, nil
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, badFile(path, fmt.Errorf("no certificate in PEM form is in it"))
	}
	return p, nil
}

func badFile(path string, err error) error {
	return &abstract.Error{Code: abstract.InvalidParams, Op: "load tls files", Message: "cannot use " + path, Err: err}
}

// serverConfig is for the next handshake of a server.
func (t *TLS) serverConfig() *tls.Config {
	t.refresh()
	return t.current.Load().server
}

// clientConfig is for the next handshake of a client with a host.
func (t *TLS) clientConfig(host string) *tls.Config {
	t.refresh()
	cfg := t.current.Load().client
	name := t.cfg.ServerName
	if name == "" && cfg.ServerName == "" {
		name = host
	}
	if name == "" {
		return cfg
	}
	cfg = cfg.Clone()
	cfg.ServerName = name
	return cfg
}

// serves says what a server lacks; empty: nothing.
func (t *TLS) serves() string {
	cfg := t.current.Load().server
	if len(cfg.Certificates) == 0 && cfg.GetCertificate == nil {
		return "the server has no certificate; give a certificate file and a key file"
	}
	return ""
}

// Format writes the names of the certificate's files, whatever the verb, and
// nothing of what is in them.
func (t *TLS) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "tls with certificate %q and key %q", t.cfg.CertFile, t.cfg.KeyFile)
}
