package mem

import (
	"context"
	"net"

	"trefoil/abstract"
	"trefoil/concrete/internal/link"
)

// Machine is one computer of a Network. What is made with it talks through it, and
// can be broken apart from the rest. Its methods are those of Network, and do the
// same to its own connections only. Safe for concurrent use.
type Machine struct {
	n       *Network
	trouble trouble // guarded by n
}

// trouble is what goes wrong for the time being.
type trouble struct {
	refusing bool
	stalled  bool          // nothing is read
	healed   chan struct{} // closed when the black hole is filled; nil while there is none
}

func (t *trouble) setHole(on bool) {
	switch {
	case on && t.healed == nil:
		t.healed = make(chan struct{})
	case !on && t.healed != nil:
		close(t.healed)
		t.healed = nil
	}
}

// Machine makes a machine.
func (n *Network) Machine() *Machine { return &Machine{n: n} }

// Server makes a server on the machine, which all of the Network reach by name.
func (m *Machine) Server(name string, cfg abstract.TransportConfig) abstract.BaseServer {
	return link.NewServer(link.Defaults(cfg), &driver{m: m, name: name})
}

// Listen takes a name for connections of bare bytes, for servers that put something between
// these and their frames, such as TLS. Dial, and clients that do the same, reach it.
func (m *Machine) Listen(name string) (net.Listener, error) {
	return (&driver{m: m, name: name}).Listen()
}

// Client makes a client on the machine, of the server called name, which may be on any
// machine and need not be there yet.
func (m *Machine) Client(name string, cfg abstract.TransportConfig) abstract.BaseClient {
	return &client{m: m, name: name, cfg: link.Defaults(cfg)}
}

// Dial opens a connection of bare bytes; see Network.Dial.
func (m *Machine) Dial(ctx context.Context, name string) (net.Conn, error) {
	e, err := m.n.dial(ctx, m, name)
	if err != nil {
		return nil, link.ConnectError("mem:"+name, err)
	}
	return e, nil
}

// Cut closes all connections from and to the machine: both ends read what was sent
// before and then io.EOF.
func (m *Machine) Cut() { m.n.each(m, (*pair).cut) }

// Refuse makes new connections from and to the machine fail at once, until it is called
// with false.
func (m *Machine) Refuse(on bool) { m.n.set(&m.trouble, func(t *trouble) { t.refusing = on }) }

// Blackhole makes everything vanish that goes to or comes from the machine; see
// Network.Blackhole.
func (m *Machine) Blackhole(on bool) { m.n.set(&m.trouble, func(t *trouble) { t.setHole(on) }) }

// Strand leaves the connections that there are in a black hole for ever, as a machine
// does that was switched off and on again, or a translation of addresses that was
// forgotten: to both sides the other one looks alive and silent. New connections work.
func (m *Machine) Strand() { m.n.each(m, (*pair).strand) }

// Stall makes the machine read nothing of what comes, the ends of connections included,
// until it is called with false. What it sends still goes out.
func (m *Machine) Stall(on bool) { m.n.set(&m.trouble, func(t *trouble) { t.stalled = on }) }
