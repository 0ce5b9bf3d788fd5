package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/stdnet"
)

// listenTLS listens at loopback with a certificate that signs itself, which is in
// the file that it returns.
func listenTLS(t *testing.T) (l net.Listener, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	l, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{stdnet.ALPN}, MinVersion: tls.VersionTLS13,
	})
	require.NoError(t, err)
	return l, caFile
}

// TestWhoIsProtectedIsNotTalkedDown plays a peer, or somebody on the way to it, that
// behaves as an existing program does.
func TestWhoIsProtectedIsNotTalkedDown(t *testing.T) {
	for _, onHello := range []string{"close", "ignore"} {
		for _, tt := range []struct {
			name   string
			tls    bool
			token  bool
			legacy bool
			hellos int
			want   error
		}{
			{name: "token", token: true, hellos: 1},
			{name: "tls", tls: true, hellos: 1},
			{name: "both", tls: true, token: true, hellos: 1},
			{name: "token for an existing program", token: true, legacy: true, want: abstract.ErrInvalidParams},
		} {
			t.Run(tt.name+" "+onHello, func(t *testing.T) {
				opts := patient()
				if onHello == "ignore" {
					opts = append(opts, client.WithHelloTimeout(time.Second))
				}
				var p *program
				if tt.tls {
					l, ca := listenTLS(t)
					p = startProgramAt(t, l, onHello)
					protection, err := stdnet.NewTLS(stdnet.TLSConfig{RootCAFile: ca, Logger: quiet})
					require.NoError(t, err)
					opts = append(opts, client.WithTLS(protection))
				} else {
					p = startProgram(t, onHello)
				}
				if tt.token {
					opts = append(opts, client.WithToken("tfl_secret"))
				}
				if tt.legacy {
					opts = append(opts, client.WithLegacy())
				}
				_, err := client.DialRpc(t.Context(), p.listener.Addr().String(), opts...)
				require.Error(t, err)
				if tt.want != nil {
					require.ErrorIs(t, err, tt.want)
				}
				assert.NotContains(t, err.Error(), "tfl_secret")
				require.Eventually(t, func() bool { return p.came(16) == tt.hellos }, time.Minute, time.Millisecond)
				for legacy := range int32(6) {
					assert.Zero(t, p.came(legacy), "type %d", legacy)
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				assert.Len(t, p.conns, tt.hellos, "it does not even connect without HELLO")
			})
		}
	}
}
