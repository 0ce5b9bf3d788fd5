package trefoiltest

import (
	"context"
	"net"
	"testing"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/concrete/stdnet"
	"trefoil/server"
)

// NewTLS is New with TLS on all connections of the test, over the same network: it breaks in
// the same ways, and works in a bubble. Certificates are made for the test and trusted by all
// of its parts. Clients show none, unless they are made with As.
func NewTLS(t testing.TB, opts ...server.Option) *Broker {
	t.Helper()
	keys, err := newAuthority(logTo(t))
	if err != nil {
		t.Fatalf("trefoiltest: no certificates can be made: %v", err)
	}
	return newBroker(t, keys, opts)
}

// Party is somebody with a certificate; see Broker.As.
type Party struct {
	b    *Broker
	name string
}

// As returns the broker as it is for somebody who shows a certificate with this common name,
// and the same as its DNS name: what a policy of the Guard (server.WithGuard) can tell
// identities by. It is for a broker of NewTLS.
func (b *Broker) As(commonName string) Party {
	b.t.Helper()
	if b.keys == nil || commonName == "" {
		b.t.Fatal("trefoiltest: As needs a broker of NewTLS, and a name")
	}
	return Party{b, commonName}
}

// Dial is Broker.Dial.
func (p Party) Dial(t testing.TB, opts ...client.Option) *Client {
	t.Helper()
	return p.b.dial(t, p.name, opts)
}

// Open is Broker.Open.
func (p Party) Open(t testing.TB, opts ...client.Option) *Client {
	t.Helper()
	return p.b.open(t, p.name, opts)
}

// Provide is Broker.Provide: the certificate is that of the provider's connection to the
// broker. To callers it shows one with the name of its host.
func (p Party) Provide(t testing.TB, opts ...server.Option) *Provider {
	t.Helper()
	return p.b.provide(t, p.name, opts)
}

// Client is the transport of client.WithTransport for programs that make their clients
// themselves.
func (p Party) Client(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
	return p.b.reaching(p.b.network.Machine(), p.name)(addr, cfg)
}

// serving is how a server on a machine is reached.
func (b *Broker) serving(m *mem.Machine) server.Transport {
	if b.keys == nil {
		return m.Server
	}
	return func(addr string, cfg abstract.TransportConfig) abstract.BaseServer {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		return stdnet.NewTLSServerOn(addr, cfg, b.secure(host), func() (net.Listener, error) { return m.Listen(addr) })
	}
}

// reaching is how a client on a machine reaches servers, with a certificate for a name, if
// there is one.
func (b *Broker) reaching(m *mem.Machine, name string) client.Transport {
	if b.keys == nil {
		return m.Client
	}
	secure := b.secure(name)
	return func(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
		return stdnet.NewTLSClientOn(addr, cfg, secure, func(ctx context.Context) (net.Conn, error) { return m.Dial(ctx, addr) })
	}
}

func (b *Broker) secure(name string) *stdnet.TLS {
	b.t.Helper()
	s, err := b.keys.secure(name)
	if err != nil {
		b.t.Fatalf("trefoiltest: %v", err)
	}
	return s
}
