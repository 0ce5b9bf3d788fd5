package stdnet_test

import (
	"crypto/x509"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/concrete/stdnet"
)

// nameOf is the common name in the certificate that a server shows next.
func nameOf(t *testing.T, material *stdnet.TLS) string {
	t.Helper()
	cert, err := x509.ParseCertificate(material.ServerConfig().Certificates[0].Certificate[0])
	require.NoError(t, err)
	return cert.Subject.CommonName
}

// TestFilesAreLookedAtOncePerSecond lets no time pass but that of the bubble.
func TestFilesAreLookedAtOncePerSecond(t *testing.T) {
	ca := newAuthority(t, "ca")
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var cfg stdnet.TLSConfig
		cfg.CertFile, cfg.KeyFile = ca.issue(t, dir, "first")
		var log safeBuffer
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		material := newTLS(t, cfg)

		ca.issue(t, dir, "second")
		assert.Equal(t, "first", nameOf(t, material), "the files were read this second")
		time.Sleep(time.Second)
		assert.Equal(t, "second", nameOf(t, material))
		assert.Equal(t, 1, strings.Count(log.String(), "tls files loaded again"))

		key, err := os.ReadFile(cfg.KeyFile)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(cfg.KeyFile, key[:len(key)/2], 0o600))
		for range 5 {
			time.Sleep(time.Second)
			assert.Equal(t, "second", nameOf(t, material), "a broken file changes nothing")
		}
		assert.Equal(t, 1, strings.Count(log.String(), "the old ones stay in use"), "and is reported once")
		require.NoError(t, os.Remove(cfg.KeyFile))
		time.Sleep(time.Second)
		assert.Equal(t, "second", nameOf(t, material))
		assert.Equal(t, 2, strings.Count(log.String(), "the old ones stay in use"), "another fault is")

		require.NoError(t, os.WriteFile(cfg.KeyFile, key, 0o600))
		time.Sleep(time.Second)
		assert.Equal(t, "second", nameOf(t, material))
		ca.issue(t, dir, "third")
		time.Sleep(time.Second)
		assert.Equal(t, "third", nameOf(t, material))
		assert.Equal(t, 2, strings.Count(log.String(), "tls files loaded again"), "what came back as it was is nothing new")
		assert.NotContains(t, log.String(), string(key[40:80]))
	})
}
