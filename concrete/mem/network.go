package mem

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"trefoil/abstract"
)

var (
	errRefused = errors.New("connection refused")
	errBacklog = errors.New("too many connections wait to be accepted")
)

// Network connects clients to servers by name. Safe for concurrent use. Nothing
// of it has to be closed but the servers and connections themselves.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	pairs     map[*pair]struct{}
	dials     int
	trouble   trouble  // of all connections
	rest      *Machine // where everything is that is on no other one
}

// NewNetwork makes an empty network.
func NewNetwork() *Network {
	n := &Network{listeners: make(map[string]*listener), pairs: make(map[*pair]struct{})}
	n.rest = n.Machine()
	return n
}

// Server makes a server that clients of the same Network reach by name.
func (n *Network) Server(name string, cfg abstract.TransportConfig) abstract.BaseServer {
	return n.rest.Server(name, cfg)
}

// Client makes a client of the server called name, which need not be there yet.
func (n *Network) Client(name string, cfg abstract.TransportConfig) abstract.BaseClient {
	return n.rest.Client(name, cfg)
}

// Dial opens a connection of bare bytes to the server called name, for tests that
// send what no client would. It has a CloseWrite method; one goroutine may read and one
// may write.
func (n *Network) Dial(ctx context.Context, name string) (net.Conn, error) {
	return n.rest.Dial(ctx, name)
}

// Cut closes every connection there is, as if all processes but this one had been
// killed: both ends read what was sent before and then io.EOF.
func (n *Network) Cut() { n.each(nil, (*pair).cut) }

// Refuse makes every new connection fail at once, until it is called with false.
func (n *Network) Refuse(on bool) { n.set(&n.trouble, func(t *trouble) { t.refusing = on }) }

// Blackhole makes everything that is sent vanish, the end of a connection too, and
// new connections wait: to both sides the other one looks alive and silent. When it
// is called with false, connections that lost something are closed.
func (n *Network) Blackhole(on bool) { n.set(&n.trouble, func(t *trouble) { t.setHole(on) }) }

// each calls fn for the connections of a machine, or for all.
func (n *Network) each(m *Machine, fn func(*pair)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.pairs {
		if m == nil || p.from == m || p.to == m {
			fn(p)
		}
	}
}

// set changes a trouble, and lets connections feel it.
func (n *Network) set(t *trouble, change func(*trouble)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(t)
	for p := range n.pairs {
		p.feel()
	}
}

// dial waits while there is a black hole.
func (n *Network) dial(ctx context.Context, from *Machine, name string) (*end, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, healed, err := n.tryDial(from, name)
		if healed == nil {
			return e, err
		}
		select {
		case <-healed:
		case <-ctx.Done():
		}
	}
}

func (n *Network) tryDial(from *Machine, name string) (e *end, healed chan struct{}, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, refusing := n.listeners[name], false
	to := n.rest
	if l != nil {
		to = l.d.m
	}
	for _, t := range []*trouble{&n.trouble, &from.trouble, &to.trouble} {
		if t.healed != nil {
			return nil, t.healed, nil
		}
		refusing = refusing || t.refusing
	}
	if refusing || l == nil {
		return nil, nil, errRefused
	}
	n.dials++
	p := newPair(from, to, addr(fmt.Sprintf("%s#%d", name, n.dials)), addr(name))
	if !l.offer(p.server) {
		return nil, nil, errBacklog
	}
	n.pairs[p] = struct{}{}
	p.feel()
	return p.client, nil, nil
}

func (n *Network) forget(p *pair) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pairs, p)
}

// addr is a name in a Network.
type addr string

// Network returns "mem".
func (a addr) Network() string { return "mem" }

// String returns the name.
func (a addr) String() string { return string(a) }
