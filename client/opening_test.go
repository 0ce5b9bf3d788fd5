package client

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"trefoil/concrete/stdnet"
)

func TestTokenInClearTextIsToldOnce(t *testing.T) {
	far := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7700}
	for _, tt := range []struct {
		name string
		opts []Option
		to   net.Addr
		said int
	}{
		{"over a network", nil, far, 1},
		{"to this machine", nil, &net.TCPAddr{IP: net.IPv6loopback, Port: 7700}, 0},
		{"over a unix socket", nil, &net.UnixAddr{Name: "/socket", Net: "unix"}, 0},
		{"with TLS", []Option{WithTLS(new(stdnet.TLS))}, far, 0},
		{"over who knows what", []Option{WithTransport(StandardNet)}, far, 0},
	} {
		var out bytes.Buffer
		cfg := newConfig(append(tt.opts, WithToken("tfl_secret"), WithLogger(slog.New(slog.NewTextHandler(&out, nil)))))
		w := newWire(&cfg)
		for range 3 {
			w.warnOfToken(tt.to)
		}
		assert.Equal(t, tt.said, strings.Count(out.String(), "use TLS"), tt.name)
		assert.NotContains(t, out.String(), "tfl_secret")
	}
}
