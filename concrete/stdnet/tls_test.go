package stdnet_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/transporttest"
	"trefoil/concrete/stdnet"
)

func TestTransportOverTLS(t *testing.T) { transporttest.Run(t, overTLS(tcpAddr)) }

func TestTLSOnUnixSocketNeedsAName(t *testing.T) {
	_, s, c := sides(t)
	path := "unix:" + filepath.Join(t.TempDir(), "s")
	addr, opened := serveAt(t, path, newTLS(t, s))
	assert.Equal(t, strings.TrimPrefix(path, "unix:"), addr)
	_, err := dial(t, path, newTLS(t, c))
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	assert.ErrorContains(t, err, "ServerName")
	c.ServerName = "localhost"
	k, err := dial(t, path, newTLS(t, c))
	require.NoError(t, err)
	require.NoError(t, k.conn.Send(&transporttest.Message{Kind: abstract.ReqRPC, N: 7}))
	await(t, await(t, opened, "OnOpen").got, "the message")
}

func TestIntegrityOverTLS(t *testing.T) { transporttest.Integrity(t, overTLS(tcpAddr)) }

func TestCloseWhileWritingOverTLS(t *testing.T) {
	transporttest.CloseWhileWriting(t, overTLS(tcpAddr), 40)
}

func TestOldVersionsOfTLSAreRefused(t *testing.T) {
	ca, s, c := sides(t)
	addr, _ := serve(t, newTLS(t, s))
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			_, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.pool(), MinVersion: version, MaxVersion: version})
			assert.ErrorContains(t, err, "protocol version")
		})
	}
	t.Run("by the client", func(t *testing.T) {
		pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		require.NoError(t, err)
		_, err = dial(t, strange(t, &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}), newTLS(t, c))
		require.Error(t, err)
		assert.ErrorContains(t, err, "TLS 1.3")
	})
	t.Run("Base cannot lower it", func(t *testing.T) {
		s.Base = &tls.Config{MinVersion: tls.VersionTLS10}
		addr, _ := serve(t, newTLS(t, s))
		_, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.pool(), MaxVersion: tls.VersionTLS12})
		assert.ErrorContains(t, err, "protocol version")
	})
}

// strange is a TLS server that is none of ours.
func strange(t testing.TB, cfg *tls.Config) (addr string) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	require.NoError(t, err)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = ln.Close() })
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = ended(nc)
				_ = nc.Close()
			})
		}
	})
	return ln.Addr().String()
}

func TestALPNKeepsOtherProtocolsApart(t *testing.T) {
	ca, s, c := sides(t)
	addr, opened := serve(t, newTLS(t, s))
	t.Run("a client of another protocol is refused", func(t *testing.T) {
		_, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.pool(), NextProtos: []string{"h2", "http/1.1"}})
		assert.ErrorContains(t, err, "no application protocol")
	})
	t.Run("a client that names none is taken", func(t *testing.T) {
		nc, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.pool()})
		require.NoError(t, err)
		await(t, opened, "OnOpen")
		require.NoError(t, nc.Close())
	})
	t.Run("our client names ours", func(t *testing.T) {
		k, err := dial(t, addr, newTLS(t, c))
		require.NoError(t, err)
		require.NoError(t, k.conn.Send(&transporttest.Message{Kind: abstract.ReqRPC, N: 7}))
		assert.Equal(t, uint64(7), await(t, await(t, opened, "OnOpen").got, "the message").(*transporttest.Message).N)
	})
	t.Run("our client refuses a server that does not", func(t *testing.T) {
		pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		require.NoError(t, err)
		_, err = dial(t, strange(t, &tls.Config{Certificates: []tls.Certificate{pair}}), newTLS(t, c))
		require.ErrorIs(t, err, abstract.ErrUnavailable)
		assert.ErrorContains(t, err, stdnet.ALPN)
	})
}

func TestServerMustBeTrusted(t *testing.T) {
	_, s, c := sides(t)
	addr, _ := serve(t, newTLS(t, s))
	t.Run("another authority", func(t *testing.T) {
		_, err := dial(t, addr, newTLS(t, stdnet.TLSConfig{RootCAFile: newAuthority(t, "other").file}))
		require.ErrorIs(t, err, abstract.ErrDenied)
		assert.ErrorContains(t, err, "root CA file")
	})
	t.Run("another name", func(t *testing.T) {
		c.ServerName = "elsewhere.example"
		_, err := dial(t, addr, newTLS(t, c))
		require.ErrorIs(t, err, abstract.ErrDenied)
		var e *abstract.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, abstract.SentNo, e.Sent)
	})
}

func TestPeerIsKnownByItsCertificate(t *testing.T) {
	ca, s, c := sides(t)
	s.ClientCAFile = ca.file
	addr, opened := serve(t, newTLS(t, s))
	anonymous, err := dial(t, addr, newTLS(t, c))
	require.NoError(t, err)
	assert.Nil(t, stdnet.PeerCertificates(await(t, opened, "OnOpen").conn), "it showed none, and need not")
	assert.Equal(t, "server", stdnet.PeerCertificates(anonymous.conn)[0].Subject.CommonName)

	c.CertFile, c.KeyFile = ca.issue(t, t.TempDir(), "billing")
	_, err = dial(t, addr, newTLS(t, c))
	require.NoError(t, err)
	chain := stdnet.PeerCertificates(await(t, opened, "OnOpen").conn)
	require.Len(t, chain, 2)
	assert.Equal(t, "billing", chain[0].Subject.CommonName)
	assert.Equal(t, "ca", chain[1].Subject.CommonName)

	assert.Nil(t, stdnet.PeerCertificates(nil))
}

func TestUnverifiedCertificateProvesNothing(t *testing.T) {
	ca, s, c := sides(t)
	s.Base = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	c.CertFile, c.KeyFile = ca.issue(t, t.TempDir(), "billing")
	addr, opened := serve(t, newTLS(t, s))
	_, err := dial(t, addr, newTLS(t, c))
	require.NoError(t, err)
	assert.Nil(t, stdnet.PeerCertificates(await(t, opened, "OnOpen").conn))
}

func TestClientWithoutTheRightCertificateIsRefused(t *testing.T) {
	ca, s, c := sides(t)
	s.ClientCAFile, s.RequireClientCert = ca.file, true
	addr, opened := serve(t, newTLS(t, s))
	for name, settings := range map[string]func(t *testing.T, c stdnet.TLSConfig) stdnet.TLSConfig{
		"none": func(_ *testing.T, c stdnet.TLSConfig) stdnet.TLSConfig { return c },
		"of another authority": func(t *testing.T, c stdnet.TLSConfig) stdnet.TLSConfig {
			certFile, keyFile := newAuthority(t, "ca").issue(t, t.TempDir(), "billing") // of the same name
			pair, err := tls.LoadX509KeyPair(certFile, keyFile)
			require.NoError(t, err)
			c.Base = &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := dial(t, addr, newTLS(t, settings(t, c)))
			require.NoError(t, err, "TLS 1.3 tells the client after the handshake")
			_ = k.conn.Send(&transporttest.Message{Kind: abstract.ReqRPC}) // or it is closed already
			err = await(t, k.closed, "the end")
			require.ErrorIs(t, err, abstract.ErrDenied)
			assert.ErrorContains(t, err, "certificate")
			assert.Empty(t, opened, "OnOpen is not called for it")
		})
	}
}

func TestNewCertificatesAreTakenWithoutARestart(t *testing.T) {
	ca, s, c := sides(t)
	dir := t.TempDir()
	s.CertFile, s.KeyFile = ca.issue(t, dir, "first")
	var log safeBuffer
	s.Logger = slog.New(slog.NewTextHandler(&log, nil))
	material := newTLS(t, s)
	addr, opened := serve(t, material)
	name := func() string {
		k, err := dial(t, addr, newTLS(t, c))
		require.NoError(t, err)
		await(t, opened, "OnOpen")
		return stdnet.PeerCertificates(k.conn)[0].Subject.CommonName
	}
	old, err := dial(t, addr, newTLS(t, c))
	require.NoError(t, err)
	oldEnd := await(t, opened, "OnOpen")
	assert.Equal(t, "first", name())

	reload := func() error {
		before := log.String() // a handshake may have found the files broken, too
		err := material.Reload()
		assert.Equal(t, before, log.String(), "Reload returns its errors")
		return err
	}
	ca.issue(t, dir, "second")
	require.NoError(t, reload())
	assert.Equal(t, "second", name())

	require.NoError(t, os.WriteFile(s.KeyFile, []byte("half a file"), 0o600))
	err = reload()
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	assert.ErrorContains(t, err, s.KeyFile)
	assert.NotContains(t, err.Error(), "half a file")
	assert.Equal(t, "second", name(), "the old one stays in use")
	require.NoError(t, os.Remove(s.KeyFile))
	require.Error(t, reload())
	assert.Equal(t, "second", name())

	require.NoError(t, old.conn.Send(&transporttest.Message{Kind: abstract.ReqRPC, N: 3}), "connections that are there stay")
	assert.Equal(t, uint64(3), await(t, oldEnd.got, "the message").(*transporttest.Message).N)
}

func TestNewClientAuthorityIsTakenWithoutARestart(t *testing.T) {
	ca, s, c := sides(t)
	clients := newAuthority(t, "clients")
	s.ClientCAFile, s.RequireClientCert = clients.file, true
	c.CertFile, c.KeyFile = clients.issue(t, t.TempDir(), "billing")
	material := newTLS(t, s)
	addr, opened := serve(t, material)
	mine := newTLS(t, c)
	_, err := dial(t, addr, mine)
	require.NoError(t, err)
	await(t, opened, "OnOpen")
	writePEM(t, clients.file, "CERTIFICATE", ca.cert.Raw)
	require.NoError(t, material.Reload())
	k, err := dial(t, addr, mine)
	require.NoError(t, err)
	require.ErrorIs(t, await(t, k.closed, "the end"), abstract.ErrDenied, "nothing of the earlier connection is resumed")
}

// TestNothingIsResumed connects with a client that keeps tickets, if it gets any.
func TestNothingIsResumed(t *testing.T) {
	ca, s, _ := sides(t)
	addr, opened := serve(t, newTLS(t, s))
	cfg := &tls.Config{RootCAs: ca.pool(), ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	for range 2 {
		nc, err := tls.Dial("tcp", addr, cfg)
		require.NoError(t, err)
		assert.False(t, nc.ConnectionState().DidResume)
		await(t, opened, "OnOpen").conn.Close(nil)
		_ = ended(nc) // a ticket would be read here
		require.NoError(t, nc.Close())
	}
}

func TestSilentPeersHoldUpNobody(t *testing.T) {
	_, s, c := sides(t)
	s.MaxHandshakes, s.HandshakeTimeout = 8, time.Hour
	addr, opened := serve(t, newTLS(t, s))
	var silent []net.Conn
	for range s.MaxHandshakes + 1 { // more than there are places
		nc, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		silent = append(silent, nc)
	}
	_, err := dial(t, addr, newTLS(t, c))
	require.NoError(t, err)
	await(t, opened, "OnOpen")
	assert.NoError(t, ended(silent[0]), "the oldest was given up to make room")
}

func TestHandshakeEndsInTime(t *testing.T) {
	_, s, c := sides(t)
	s.HandshakeTimeout = 50 * time.Millisecond
	var log safeBuffer
	s.Logger = slog.New(slog.NewTextHandler(&log, nil))
	addr, _ := serve(t, newTLS(t, s))
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, ended(nc), "the server closes")
	assert.Contains(t, log.String(), "tls handshake failed")

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	c.HandshakeTimeout = 50 * time.Millisecond
	_, err = dial(t, ln.Addr().String(), newTLS(t, c))
	require.ErrorIs(t, err, abstract.ErrTimeout)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg, _ := keeping()
	_, err = stdnet.NewTLSClient(addr, cfg, newTLS(t, c)).Connect(ctx)
	require.ErrorIs(t, err, abstract.ErrCancelled)
}

func TestStrangersAreToldWhatThisPortSpeaks(t *testing.T) {
	_, s, c := sides(t)
	var log safeBuffer
	s.Logger = slog.New(slog.NewTextHandler(&log, nil))
	addr, _ := serve(t, newTLS(t, s))
	for range 20 {
		nc, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		_, err = nc.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		require.NoError(t, err)
		_ = ended(nc)
		require.NoError(t, nc.Close())
	}
	assert.LessOrEqual(t, strings.Count(log.String(), "tls handshake failed"), 15, "a crowd is logged together")

	cfg, _ := keeping()
	plain := stdnet.NewServer("127.0.0.1:0", cfg)
	require.NoError(t, plain.Listen())
	served := make(chan error, 1)
	go func() { served <- plain.Serve() }()
	_, err := dial(t, plain.Addr().String(), newTLS(t, c))
	require.Error(t, err)
	assert.ErrorContains(t, err, "does not seem to speak TLS")
	require.NoError(t, plain.Shutdown(context.Background()))
	require.NoError(t, <-served)
}

func TestShutdownEndsHandshakes(t *testing.T) {
	_, s, _ := sides(t)
	cfg, opened := keeping()
	srv := stdnet.NewTLSServer("127.0.0.1:0", cfg, newTLS(t, s))
	require.NoError(t, srv.Listen())
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	nc, err := net.Dial("tcp", srv.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	_, err = nc.Write([]byte{0x16, 3, 1}) // the beginning of a handshake
	require.NoError(t, err)
	require.NoError(t, srv.Shutdown(t.Context()))
	require.NoError(t, await(t, served, "Serve to return"))
	_ = ended(nc)
	assert.Empty(t, opened)
}

func TestTamperedBytesEndTheConnection(t *testing.T) {
	_, s, c := sides(t)
	c.ServerName = "localhost"
	addr, opened := serve(t, newTLS(t, s))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	tamper, over := make(chan bool), make(chan bool)
	go func() {
		defer close(over)
		meddle(ln, addr, tamper)
	}()
	k, err := dial(t, ln.Addr().String(), newTLS(t, c))
	require.NoError(t, err)
	server := await(t, opened, "OnOpen")
	require.NoError(t, k.conn.Send(&transporttest.Message{Kind: abstract.ReqRPC, N: 1}))
	await(t, server.got, "the message")
	close(tamper)
	require.NoError(t, k.conn.Send(&transporttest.Message{Kind: abstract.ReqRPC, N: 2}))
	require.ErrorIs(t, await(t, server.closed, "the end"), abstract.ErrInvalidMessage)
	assert.Empty(t, server.got)
	await(t, k.closed, "the client's end")
	await(t, over, "the one in the middle")
}

// meddle passes bytes on, and once told to changes those of the client.
func meddle(ln net.Listener, addr string, tamper <-chan bool) {
	in, err := ln.Accept()
	if err != nil {
		return
	}
	defer in.Close()
	out, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer out.Close()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(in, out)
		_ = in.Close()
	})
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		if err != nil {
			break
		}
		select {
		case <-tamper:
			buf[n-1] ^= 1
		default:
		}
		if _, err := out.Write(buf[:n]); err != nil {
			break
		}
	}
	_ = out.Close()
	back.Wait()
}

func TestFaultsOfTLSSettingsAreNamed(t *testing.T) {
	ca, s, _ := sides(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	otherCert, _ := ca.issue(t, t.TempDir(), "other")
	for _, tt := range []struct {
		name string
		cfg  stdnet.TLSConfig
		says string
	}{
		{"a certificate without key", stdnet.TLSConfig{CertFile: s.CertFile}, "belong together"},
		{"clients must and nobody signs them", stdnet.TLSConfig{RequireClientCert: true}, "client CA file"},
		{"no such file", stdnet.TLSConfig{RootCAFile: empty + "x"}, "empty.pemx"},
		{"no certificate in a file", stdnet.TLSConfig{ClientCAFile: empty}, "no certificate"},
		{"a key of another certificate", stdnet.TLSConfig{CertFile: otherCert, KeyFile: s.KeyFile}, "does not match"},
		{"only old versions", stdnet.TLSConfig{Base: &tls.Config{MaxVersion: tls.VersionTLS12}}, "TLS 1.3"},
		{"a hook that would not be called", stdnet.TLSConfig{Base: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }}}, "leave it out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := stdnet.NewTLS(tt.cfg)
			require.ErrorIs(t, err, abstract.ErrInvalidParams)
			assert.ErrorContains(t, err, tt.says)
		})
	}
	cfg, _ := keeping()
	err := stdnet.NewTLSServer("127.0.0.1:0", cfg, newTLS(t, stdnet.TLSConfig{})).Listen()
	require.ErrorIs(t, err, abstract.ErrInvalidParams)
	assert.ErrorContains(t, err, "no certificate")
}

func TestTLSShowsNoKeys(t *testing.T) {
	_, s, _ := sides(t)
	material := newTLS(t, s)
	key, err := os.ReadFile(s.KeyFile)
	require.NoError(t, err)
	secret := strings.Split(string(key), "\n")[1]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		text := fmt.Sprintf(verb, material)
		assert.NotContains(t, text, secret)
		assert.Contains(t, text, "key.pem")
	}
}

// safeBuffer is a log that may be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
