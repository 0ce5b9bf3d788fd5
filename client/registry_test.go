package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/abstract/registrytest"
	"trefoil/client"
	"trefoil/server"
)

// seat is a broker on a port of the loopback, that can be restarted there.
type seat struct {
	addr   string
	broker *server.Broker
	ended  chan error
}

func (s *seat) start(t testing.TB) {
	s.broker = server.NewBroker(s.addr, server.WithLogger(quiet), server.WithPing(time.Minute, 5))
	require.Eventually(t, func() bool { return s.broker.Listen() == nil }, time.Minute, 10*time.Millisecond)
	s.addr = s.broker.Addr().String()
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.broker.Serve() }()
}

// stop ends the broker without waiting for anybody.
func (s *seat) stop(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.broker.Shutdown(ctx)
	require.NoError(t, <-s.ended)
}

func TestBrokersRegistryBehavesAsEveryRegistry(t *testing.T) {
	s := &seat{addr: "127.0.0.1:0"}
	s.start(t)
	t.Cleanup(func() { s.stop(t) })
	restart := func(t testing.TB) {
		s.stop(t)
		s.start(t)
	}
	proxy := registrytest.NewProxy(t, s.addr)
	registrytest.Run(t, registrytest.Fixture{
		Cut:   func(testing.TB) { proxy.Cut() },
		Bound: true,
		New: func(t testing.TB) abstract.Registry {
			c, err := client.Dial(context.Background(), proxy.Addr(), patient()...)
			require.NoError(t, err)
			return client.NewRegistry(c)
		},
		Restart: restart,
		Pause:   restart, // it keeps no sessions that could run out
	})
}
