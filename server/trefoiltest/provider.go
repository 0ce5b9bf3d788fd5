package trefoiltest

import (
	"context"
	"sync"
	"testing"

	"trefoil/server"
)

// Provider is an RpcServer at an address of its own, whose methods are registered at the
// broker as soon as it serves them. Its Faults are those of its connection to the
// broker, and of those that callers have opened to it. It ends with the test, or before
// that with Shutdown, which takes leave of its callers, or Kill, which does not.
type Provider struct {
	*server.RpcServer
	Faults
	t     testing.TB
	conn  *Client
	ended chan error
	gone  sync.Once
}

// Provide starts a provider, which serves nothing yet. The options are those of
// server.NewRpcServer.
func (b *Broker) Provide(t testing.TB, opts ...server.Option) *Provider {
	t.Helper()
	return b.provide(t, "", opts)
}

func (b *Broker) provide(t testing.TB, as string, opts []server.Option) *Provider {
	t.Helper()
	name := b.host()
	conn := b.client(t, name, as)
	conn.dial()
	all := append([]server.Option{server.WithLogger(logTo(t)), server.WithRegistry(conn.Registry())}, opts...)
	p := &Provider{
		RpcServer: server.NewRpcServer(name, append(all, server.WithTransport(b.serving(conn.machine)))...),
		Faults:    conn.Faults, t: t, conn: conn, ended: make(chan error, 1),
	}
	if err := p.Announce(context.Background()); err != nil {
		t.Fatalf("trefoiltest: provider %s does not start: %v", name, err)
	}
	go func() { p.ended <- p.Serve() }()
	t.Cleanup(func() {
		p.Heal()
		p.Kill()
	})
	return p
}

// Kill ends the provider as if its process had been killed: connections break, nobody
// is told anything, and its running handlers' contexts end.
func (p *Provider) Kill() {
	p.t.Helper()
	p.gone.Do(func() {
		p.conn.Kill() // first, so that the shutdown can tell nobody
		end(p.t, "provider "+p.conn.name, p.RpcServer, p.ended)
	})
}
