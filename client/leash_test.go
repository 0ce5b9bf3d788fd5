package client_test

import (
	"context"
	"errors"
	"sync"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
	"trefoil/concrete/mem"
)

// leash is a transport that can cut one client off without touching the others.
type leash struct {
	net *mem.Network

	mu    sync.Mutex
	off   bool
	conns map[abstract.BaseConnection]struct{}
}

// leashed is a client on a leash.
func (w *world) leashed(opts ...client.Option) (*client.Conn, *leash) {
	l := &leash{net: w.net, conns: make(map[abstract.BaseConnection]struct{})}
	w.Helper()
	c, err := client.Dial(context.Background(), "broker", append([]client.Option{client.WithTransport(l.client), client.WithLogger(quiet)}, opts...)...)
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, c.Close()) })
	return c, l
}

func (l *leash) client(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
	inner := cfg.OnOpen
	cfg.OnOpen = func(bc abstract.BaseConnection) abstract.Receiver {
		l.mu.Lock()
		l.conns[bc] = struct{}{}
		l.mu.Unlock()
		return inner(bc)
	}
	return leashedClient{l.net.Client(addr, cfg), l}
}

type leashedClient struct {
	abstract.BaseClient
	l *leash
}

func (c leashedClient) Connect(ctx context.Context) (abstract.BaseConnection, error) {
	c.l.mu.Lock()
	off := c.l.off
	c.l.mu.Unlock()
	if off {
		return nil, errors.New("cut off")
	}
	return c.BaseClient.Connect(ctx)
}

// cut ends the connection and lets no other come up until heal.
func (l *leash) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.off = true
	for bc := range l.conns {
		bc.Close(errors.New("cut"))
	}
	clear(l.conns)
}

func (l *leash) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.off = false
}
