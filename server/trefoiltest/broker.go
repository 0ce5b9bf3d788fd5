package trefoiltest

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"trefoil/client"
	"trefoil/concrete/mem"
	"trefoil/server"
)

// addr is the broker's name on its network.
const addr = "broker"

// patience is how long something may take that takes no time when all is well.
const patience = 30 * time.Second

// Broker is a broker with all roles on a network of its own. Its Faults are those of all
// connections to it; callers are connected to providers directly. Safe for concurrent
// use.
type Broker struct {
	Faults
	t       testing.TB
	network *mem.Network
	keys    *authority // nil: connections are not protected
	opts    []server.Option

	mu      sync.Mutex
	current *server.Broker // nil while it is stopped
	ended   chan error
	hosts   int
	members []*Client // those that were not closed
}

// New starts a broker, which ends with the test. Its options are those of
// server.NewBroker, and may say nothing about the transport. Without server.WithStore
// its state is in memory and lost with Stop.
func New(t testing.TB, opts ...server.Option) *Broker {
	t.Helper()
	return newBroker(t, nil, opts)
}

func newBroker(t testing.TB, keys *authority, opts []server.Option) *Broker {
	t.Helper()
	network := mem.NewNetwork()
	b := &Broker{Faults: Faults{network.Machine()}, t: t, network: network, keys: keys}
	looks := client.WithTransport(b.reaching(network.Machine(), addr))
	b.opts = append([]server.Option{server.WithLogger(logTo(t)), server.WithDialling(looks)}, opts...)
	b.opts = append(b.opts, server.WithTransport(b.serving(b.machine)))
	b.Start()
	t.Cleanup(func() {
		b.Heal()
		b.stop()
	})
	return b
}

// Addr is the broker's address on its network.
func (b *Broker) Addr() string { return addr }

// Network is where the broker, its providers and clients are. Programs that make
// clients and servers themselves join it with client.WithTransport(network.Client) and
// server.WithTransport(network.Server), or with those of a Machine of their own.
func (b *Broker) Network() *mem.Network { return b.network }

// Server is the broker as it runs now: another one after each Start, and nil while it is
// stopped. Methods that it serves itself are gone with it.
func (b *Broker) Server() *server.Broker {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current
}

// Stop ends the broker as if its process had been killed: connections break without a
// goodbye, and what it kept in memory is lost. Those of the other parts among themselves
// stay.
func (b *Broker) Stop() {
	b.t.Helper()
	if !b.stop() {
		b.t.Fatal("trefoiltest: the broker is stopped already; call Start before the next Stop")
	}
}

// Start starts the broker after Stop.
func (b *Broker) Start() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current != nil {
		b.t.Fatal("trefoiltest: the broker runs already; call Stop before Start")
	}
	srv := server.NewBroker(addr, b.opts...)
	if err := srv.Listen(); err != nil {
		b.t.Fatalf("trefoiltest: the broker does not start: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve() }()
	b.current, b.ended = srv, ended
}

// Restart is Stop and Start. Clients and providers come back by themselves, after their
// back-off; see Settle.
func (b *Broker) Restart() {
	b.t.Helper()
	b.Stop()
	b.Start()
}

func (b *Broker) stop() (ran bool) {
	b.t.Helper()
	b.mu.Lock()
	srv, ended := b.current, b.ended
	b.current = nil
	b.mu.Unlock()
	if srv == nil {
		return false
	}
	b.machine.Refuse(true)
	b.machine.Cut()
	end(b.t, "the broker", srv, ended)
	b.machine.Refuse(false)
	return true
}

// end shuts a server down whose connections have been cut.
func end(t testing.TB, who string, srv interface{ Shutdown(context.Context) error }, ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cmp.Or(srv.Shutdown(ctx), ctx.Err()); err != nil {
		t.Errorf("trefoiltest: %s does not end: %v; does a handler not heed the end of its context?", who, err)
		return
	}
	if err := <-ended; err != nil {
		t.Errorf("trefoiltest: %s served until: %v", who, err)
	}
}

// host makes the address of another provider.
func (b *Broker) host() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hosts++
	return fmt.Sprintf("host-%d:9000", b.hosts)
}
