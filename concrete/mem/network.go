package mem

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
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
	refusing  bool
	hole      bool
	healed    chan struct{} // closed when the hole is filled; nil while there is none
}

// NewNetwork makes an empty network.
func NewNetwork() *Network {
	return &Network{listeners: make(map[string]*listener), pairs: make(map[*pair]struct{})}
}

// Server makes a server that clients of the same Network reach by name.
func (n *Network) Server(name string, cfg abstract.TransportConfig) abstract.BaseServer {
	return link.NewServer(link.Defaults(cfg), &driver{n: n, name: name})
}

// Client makes a client of the server called name, which need not be there yet.
func (n *Network) Client(name string, cfg abstract.TransportConfig) abstract.BaseClient {
	return &client{n: n, name: name, cfg: link.Defaults(cfg)}
}

// Dial opens a connection of bare bytes to the server called name, for tests that
// send what no client would. It has a CloseWrite method and no deadlines; one
// goroutine may read and one may write.
func (n *Network) Dial(ctx context.Context, name string) (net.Conn, error) {
	e, err := n.dial(ctx, name)
	if err != nil {
		return nil, link.ConnectError("mem:"+name, err)
	}
	return e, nil
}

// Cut closes every connection there is, as if all processes but this one had been
// killed: both ends read what was sent before and then io.EOF.
func (n *Network) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.pairs {
		p.cut()
	}
}

// Refuse makes every new connection fail at once, until it is called with false.
func (n *Network) Refuse(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refusing = on
}

// Blackhole makes everything that is sent vanish, the end of a connection too, and
// new connections wait: to both sides the other one looks alive and silent. When it
// is called with false, connections that lost something are closed.
func (n *Network) Blackhole(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hole == on {
		return
	}
	n.hole = on
	if on {
		n.healed = make(chan struct{})
	} else {
		close(n.healed)
	}
	for p := range n.pairs {
		p.setHole(on)
	}
}

// dial waits while there is a black hole.
func (n *Network) dial(ctx context.Context, name string) (*end, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, healed, err := n.tryDial(name)
		if healed == nil {
			return e, err
		}
		select {
		case <-healed:
		case <-ctx.Done():
		}
	}
}

func (n *Network) tryDial(name string) (e *end, healed chan struct{}, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hole {
		return nil, n.healed, nil
	}
	l := n.listeners[name]
	if n.refusing || l == nil {
		return nil, nil, errRefused
	}
	n.dials++
	p := newPair(n, addr(fmt.Sprintf("%s#%d", name, n.dials)), addr(name))
	if !l.offer(p.server) {
		return nil, nil, errBacklog
	}
	n.pairs[p] = struct{}{}
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
