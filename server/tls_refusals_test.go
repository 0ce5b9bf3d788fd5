package server_test

import (
	"context"
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/client"
	"trefoil/concrete/message"
	"trefoil/concrete/stdnet"
	"trefoil/server"
)

// TestWhoCannotProveWhoTheyAreDoNotTalk connects clients and brokers that must not
// trust each other: nothing is served, and no token leaves its owner.
func TestWhoCannotProveWhoTheyAreDoNotTalk(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	pair := func(a *authority, name string, end time.Time) (cfg stdnet.TLSConfig) {
		cfg.CertFile, cfg.KeyFile = a.issue(name, end)
		return cfg
	}
	past := time.Now().Add(-time.Minute)
	good, expired, foreign := pair(ours, "broker", time.Time{}), pair(ours, "broker", past), pair(theirs, "broker", time.Time{})
	mutual := good
	mutual.ClientCAFile, mutual.RequireClientCert = ours.file, true
	trusting := func(cfg stdnet.TLSConfig) *stdnet.TLSConfig { cfg.RootCAFile = ours.file; return &cfg }
	old := trusting(stdnet.TLSConfig{})
	wrongName := trusting(stdnet.TLSConfig{})
	wrongName.ServerName = "elsewhere"
	for _, tt := range []struct {
		name           string
		broker, client *stdnet.TLSConfig // nil: clear text
		says           string
	}{
		{"a certificate of another authority", &foreign, old, "certificate cannot be trusted"},
		{"an expired certificate", &expired, old, "certificate cannot be trusted"},
		{"another name", &good, wrongName, "certificate cannot be trusted"},
		{"a client that trusts the system's authorities", &good, &stdnet.TLSConfig{}, "certificate cannot be trusted"},
		{"a client without a certificate", &mutual, trusting(stdnet.TLSConfig{}), "certificate"},
		{"a client's certificate of another authority", &mutual, trusting(pair(theirs, "owner", time.Time{})), "certificate"},
		{"a client's expired certificate", &mutual, trusting(pair(ours, "owner", past)), "certificate"},
		{"a client in clear text", &good, nil, ""},
		{"a broker in clear text", nil, old, "does not seem to speak TLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			guard, tokens := guardBy(t, policy, "all")
			served := make(chan struct{}, 8)
			opts := []server.Option{server.WithLogger(quietLog()), server.WithGuard(guard)}
			if tt.broker != nil {
				opts = append(opts, server.WithTLS(newTLS(t, *tt.broker)))
			}
			b := serve(t, newBroker(opts...))
			require.NoError(t, b.HandleFunc(server.Description{Method: "open.hello", Result: server.KindAny}, func(context.Context, message.Raw) (any, error) {
				served <- struct{}{}
				return nil, nil
			}))
			w := tap(t, b.Addr())
			mine := patiently(client.WithToken(tokens["all"]), client.WithLogger(quietLog()))
			if tt.client != nil {
				mine = append(mine, client.WithTLS(newTLS(t, *tt.client)))
			}
			rpc, err := client.DialRpc(t.Context(), w.listener.Addr().String(), mine...)
			if err == nil { // what a server refuses of TLS 1.3 is known after the handshake
				err = rpc.Call(t.Context(), "open.hello", nil, nil)
				require.NoError(t, rpc.Close())
			}
			require.Error(t, err)
			assert.ErrorContains(t, err, tt.says)
			assert.NotContains(t, err.Error(), tokens["all"])
			assert.Empty(t, served)
			if tt.client != nil {
				for _, bytes := range w.recorded() {
					assert.NotContains(t, string(bytes), tokens["all"])
				}
			}
		})
	}
}

// TestOldTLSAndWeakCiphersAreRefused shows a broker every version below ours.
func TestOldTLSAndWeakCiphersAreRefused(t *testing.T) {
	ca := newAuthority(t)
	var cfg stdnet.TLSConfig
	cfg.CertFile, cfg.KeyFile = ca.issue("broker", time.Time{})
	b := serve(t, newBroker(server.WithLogger(quietLog()), server.WithTLS(newTLS(t, cfg))))
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
		nc := dialTCP(t, b)
		var suites []uint16
		for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			suites = append(suites, s.ID)
		}
		tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, CipherSuites: suites, NextProtos: []string{stdnet.ALPN}}) //nolint:gosec // that it is refused is what is tested
		err := tc.HandshakeContext(t.Context())
		require.Error(t, err, tls.VersionName(version))
		assert.ErrorContains(t, err, "protocol version")
		_, err = io.Copy(io.Discard, nc)
		assert.NoError(t, err)
		_ = nc.Close()
	}
}
