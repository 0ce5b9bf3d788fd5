//go:build unix

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// certificate writes a certificate for 127.0.0.1 that signs itself.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return certFile, keyFile
}

func TestTokensAndPermissionsOverTLS(t *testing.T) {
	cert, key := certificate(t)
	dir := t.TempDir()
	policy, tokens := filepath.Join(dir, "policy.json"), filepath.Join(dir, "tokens.json")
	write := func(reader string) {
		text := `{"identities": {"writer": {"allow": {"node_read": ["/**"], "node_write": ["/**"]}}, "reader": {"allow": {"node_read": ["` + reader + `"]}}}}`
		require.NoError(t, os.WriteFile(policy, []byte(text), 0o600))
	}
	write("/**")
	token := func(identity string) string {
		f := inProcess(t, "", "token", "new", identity, "--file", tokens)
		require.Equal(t, exitOK, f.code, f.err)
		require.True(t, strings.HasPrefix(f.out, "tfl_"), f.out)
		return strings.TrimSpace(f.out)
	}
	writer, reader := token("writer"), token("reader")
	text, err := os.ReadFile(tokens)
	require.NoError(t, err)
	assert.NotContains(t, string(text), writer, "the file has hashes only")

	broker, addr := startBroker(t, "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--policy", policy, "--tokens", tokens)
	as := func(token string, args ...string) finished {
		t.Helper()
		t.Setenv(tokenEnv, token)
		return inProcess(t, "", append(args, "--broker", addr, "--tls-ca", cert)...)
	}
	f := as(writer, "node", "create", "/a", "secret")
	require.Equal(t, exitOK, f.code, f.err)
	f = as(reader, "node", "get", "/a")
	assert.Equal(t, finished{exitOK, "secret", ""}, f)
	f = as(reader, "node", "set", "/a", "x")
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, `identity "reader" may not write the node "/a": ask for the permission node_write /a`)
	f = as("", "node", "get", "/a")
	assert.Contains(t, f.err, `identity "anonymous" may not read the node "/a"`)
	f = as("tfl_nonsense", "node", "get", "/a")
	assert.Equal(t, exitFailed, f.code)
	assert.Contains(t, f.err, "the token is not known here")
	assert.NotContains(t, f.err, "tfl_nonsense")

	t.Setenv(tokenEnv, writer)
	f = inProcess(t, "", "node", "get", "/a", "--broker", addr)
	assert.Equal(t, exitFailed, f.code, "without TLS nothing is answered")

	watch := start(t, "node", "watch", "/a", "--broker", addr, "--tls-ca", cert, "--log-level", "info", "--token-file", fileWith(t, reader))
	watch.lineWith(watch.err, "watching /a")
	write("/b")
	broker.signal(syscall.SIGHUP)
	broker.lineWith(broker.err, "permissions reloaded")
	watch.lineWith(watch.err, "lost the broker")
	f = as(reader, "node", "get", "/a")
	assert.Contains(t, f.err, `identity "reader" may not read the node "/a"`)
	require.NoError(t, os.WriteFile(policy, []byte(`{"identitys": {}}`), 0o600))
	broker.signal(syscall.SIGHUP)
	assert.Contains(t, broker.lineWith(broker.err, "configuration not reloaded, everything stays as it was"), policy)
	f = as(writer, "node", "get", "/a")
	assert.Equal(t, finished{exitOK, "secret", ""}, f)
	assert.NotContains(t, broker.err.text(), writer)
}

func TestNothingIsTakenFromFilesOfWhichOneIsBroken(t *testing.T) {
	cert, key := certificate(t)
	policy, tokens := fileWith(t, `{"identities": {}}`), fileWith(t, `{"tokens": []}`)
	good := with(with(with(with(local(), "tls.cert", cert), "tls.key", key), "access.policy", policy), "access.tokens", tokens)
	r := startReloaded(t, with(good, "log.level", "warn"))
	for name, file := range map[string]string{"permissions": policy, "tokens": tokens, "a certificate": cert} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
		line := r.reload(with(good, "log.level", "info"))
		assert.Contains(t, line, `level=ERROR msg="configuration not reloaded, everything stays as it was"`, name)
		assert.Contains(t, line, file, name)
		require.NoError(t, os.WriteFile(file, text, 0o600))
	}
	assert.NotContains(t, r.err.text(), "level=INFO", "the level of the log is as it was")
	assert.Contains(t, r.reload(with(good, "log.level", "info")), "changed=log.level")
}

func fileWith(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(text+"\n"), 0o600))
	return name
}

func TestBrokenSecurityFilesAreRefusedAtTheStart(t *testing.T) {
	cert, key := certificate(t)
	broken := fileWith(t, "{")
	for name, args := range map[string][]string{
		"--tls-cert without its key": {"--tls-cert", cert},
		"no certificate":             {"--tls-cert", broken, "--tls-key", key},
		"no policy":                  {"--policy", broken},
		"no tokens":                  {"--tokens", broken},
		"no such file":               {"--policy", "/no/such/file"},
		"no CA to require":           {"--tls-cert", cert, "--tls-key", key, "--tls-require-client-cert"},
	} {
		f := inProcess(t, "", append([]string{"broker", "--listen", "127.0.0.1:0"}, args...)...)
		assert.Equal(t, exitFailed, f.code, name)
		assert.NotEmpty(t, f.err, name)
	}
	f := inProcess(t, "", "token", "new", "billing")
	assert.Equal(t, exitUsage, f.code)
	f = inProcess(t, "", "token", "new", "anonymous", "--file", filepath.Join(t.TempDir(), "tokens"))
	assert.Equal(t, exitFailed, f.code)
}
