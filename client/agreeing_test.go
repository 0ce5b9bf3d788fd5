package client_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/client"
)

// stall is a transport that keeps requests to register back, each until it is let go.
type stall struct {
	abstract.BaseClient
	mu   sync.Mutex
	held []chan struct{}
	on   bool
}

type stalledConn struct {
	abstract.BaseConnection
	s *stall
}

// Queue is abstract.BaseConnection's.
func (c stalledConn) Queue(f abstract.Frame) error {
	if bytes.Contains(f.Bytes, []byte(`{"optype":0,"method":"m"`)) {
		c.s.mu.Lock()
		on, wait := c.s.on, make(chan struct{})
		if on {
			c.s.held = append(c.s.held, wait)
		}
		c.s.mu.Unlock()
		if on {
			<-wait
		}
	}
	return c.BaseConnection.Queue(f)
}

// hold keeps back what registers, from now on.
func (s *stall) hold(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = on
}

// pass lets the one go that was kept back as number i.
func (s *stall) pass(i int) {
	s.mu.Lock()
	held := s.held[i]
	s.mu.Unlock()
	close(held)
	synctest.Wait()
}

// stalled is a client whose requests can be kept back.
func (w *world) stalled() (*client.RegistryClient, *stall) {
	s := &stall{}
	c, err := client.Dial(ctx, "broker", client.WithLogger(quiet), client.WithTransport(func(addr string, cfg abstract.TransportConfig) abstract.BaseClient {
		open := cfg.OnOpen
		cfg.OnOpen = func(bc abstract.BaseConnection) abstract.Receiver { return open(stalledConn{bc, s}) }
		return w.net.Client(addr, cfg)
	}))
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, c.Close()) })
	return client.NewRegistryClient(c), s
}

func (w *world) weights(d *client.DiscoveryClient) (all []int) {
	list, err := d.Discover(ctx, "m")
	require.NoError(w, err)
	for _, p := range list {
		all = append(all, p.Weight)
	}
	return all
}

// TestRefusedWishDoesNotTakeALaterOneAlong, which would be missed after a reconnect.
func TestRefusedWishDoesNotTakeALaterOneAlong(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.broker()
		registry, s := w.stalled()
		good := abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: 1}}
		bad := good
		bad.Zone = strings.Repeat("z", abstract.MaxTrait+1)
		s.hold(true)
		go func() { assert.ErrorIs(w, registry.Register(ctx, bad), abstract.ErrInvalidMessage) }()
		synctest.Wait()
		s.hold(false)
		require.NoError(w, registry.Register(ctx, good))
		s.pass(0)
		first.stop()
		w.broker()
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		list, err := client.NewDiscoveryClient(w.dial()).WaitFor(ctx, "m")
		require.NoError(w, err)
		assert.Len(w, list, 1)
	})
}

// TestLastWishCounts: whatever the order in which two requests go out, the broker has in
// the end what was wished for last.
func TestLastWishCounts(t *testing.T) {
	at := func(weight int) abstract.Provider {
		return abstract.Provider{Method: "m", Host: abstract.Host{IP: "h", Port: 1}, Traits: abstract.Traits{Weight: weight}}
	}
	inWorld(t, func(w *world) {
		w.broker()
		registry, s := w.stalled()
		d := client.NewDiscoveryClient(w.dial())
		register := func(weight int) {
			go func() { assert.NoError(w, registry.Register(ctx, at(weight))) }()
			synctest.Wait()
		}
		s.hold(true)
		register(1)
		require.NoError(w, registry.Unregister(ctx, at(1)))
		s.hold(false)
		s.pass(0)
		assert.Empty(w, w.weights(d), "unregistered last")

		s.hold(true)
		register(1)
		register(2)
		s.hold(false)
		s.pass(2)
		s.pass(1)
		assert.Equal(w, []int{2}, w.weights(d), "changed last")
	})
}
