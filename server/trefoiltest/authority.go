package trefoiltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"sync"
	"time"

	"trefoil/concrete/stdnet"
)

// authority signs the certificates of one test. They are good at all times that a bubble
// may have.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	log  *slog.Logger // of handshakes

	mu     sync.Mutex
	serial int64
}

func newAuthority(log *slog.Logger) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key, pool: x509.NewCertPool(), log: log}
	der, err := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "trefoiltest"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a.pool.AddCert(a.cert)
	return a, nil
}

// sign signs a certificate; the first one, its own.
func (a *authority) sign(c *x509.Certificate, public *ecdsa.PublicKey) ([]byte, error) {
	a.mu.Lock()
	a.serial++
	c.SerialNumber = big.NewInt(a.serial)
	a.mu.Unlock()
	c.NotBefore, c.NotAfter = time.Time{}, time.Time{}.AddDate(9998, 0, 0) // at any time, virtual ones too
	parent := a.cert
	if parent == nil {
		parent = c
	}
	return x509.CreateCertificate(rand.Reader, c, parent, public, a.key)
}

// issue makes a certificate for somebody of a name, who may serve and call.
func (a *authority) issue(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, &key.PublicKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// secure is how somebody of a name serves and calls; without a name he shows no certificate.
func (a *authority) secure(name string) (*stdnet.TLS, error) {
	base := &tls.Config{RootCAs: a.pool, ClientCAs: a.pool, ClientAuth: tls.VerifyClientCertIfGiven}
	if name != "" {
		cert, err := a.issue(name)
		if err != nil {
			return nil, fmt.Errorf("make a certificate for %s: %w", name, err)
		}
		base.Certificates = []tls.Certificate{cert}
	}
	return stdnet.NewTLS(stdnet.TLSConfig{Base: base, Logger: a.log})
}
