package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"trefoil/abstract"
	"trefoil/concrete/memstore"
	"trefoil/concrete/message"
)

// broker joins a PDManager and a Store as a server does, and keeps the notices.
type broker struct {
	t     require.TestingT
	store *memstore.Store
	pd    *PDManager
	sent  []Notice
}

func newBroker(t require.TestingT, cfg Config) *broker {
	b := &broker{t: t, store: memstore.New(), pd: NewPDManager(cfg)}
	b.store.Follow(Prefix, func(c abstract.Change) {
		b.sent = append(b.sent, b.pd.Apply(c)...)
	})
	return b
}

// run runs a transaction and returns what it made the broker send.
func (b *broker) run(txns ...abstract.Txn) []Notice {
	b.sent = nil
	for _, txn := range txns {
		if len(txn.Then) > 0 {
			_, err := b.store.Txn(context.Background(), txn)
			require.NoError(b.t, err)
		}
	}
	check(b.t, b.pd)
	return b.sent
}

func (b *broker) register(conn ConnID, method string, p message.ProviderHost) []Notice {
	txn, err := b.pd.PlanRegister(conn, method, p)
	require.NoError(b.t, err)
	return b.run(txn)
}

func (b *broker) unregister(conn ConnID, method string, p message.ProviderHost) []Notice {
	txn, err := b.pd.PlanUnregister(conn, method, p)
	require.NoError(b.t, err)
	return b.run(txn)
}

// gone is what happens when a connection is lost.
func (b *broker) gone(conn ConnID) []Notice {
	b.pd.Forget(conn)
	return b.run(b.pd.PlanDisconnect(conn)...)
}

func (b *broker) discover(conn ConnID, method string) []message.ProviderHost {
	hosts, err := b.pd.Discover(conn, method)
	if err != nil {
		require.Equal(b.t, abstract.ServiceNotFound, abstract.CodeOf(err))
	}
	return hosts
}

// at is a legacy provider on a port.
func at(port int) message.ProviderHost {
	return message.ProviderHost{Host: abstract.Host{IP: "10.0.0.1", Port: port}}
}

// modern is a provider with an instance id on a port.
func modern(port int, instance string) message.ProviderHost {
	p := at(port)
	p.Instance, p.Hello = instance, true
	return p
}

// online and offline are the notices about p.
func online(conn ConnID, method string, p message.ProviderHost) Notice {
	return Notice{Conn: conn, Online: true, Method: method, Host: p.Host, Instance: p.Instance, Hello: p.Hello}
}

func offline(conn ConnID, method string, p message.ProviderHost) Notice {
	n := online(conn, method, p)
	n.Online = false
	return n
}

// check holds the index against its own rules: every mapping has its mirror, and
// nothing empty is kept.
func check(t require.TestingT, m *PDManager) {
	provided, asked := 0, 0
	for name, mt := range m.methods {
		require.Equal(t, name, mt.name)
		require.False(t, len(mt.offers) == 0 && len(mt.discoverers) == 0, "method %q is of no use to anybody", name)
		require.True(t, slices.IsSorted(mt.discoverers))
		for _, conn := range mt.discoverers {
			require.True(t, slices.Contains(m.asked[conn], mt))
		}
		asked += len(mt.discoverers)
		provided += checkOffers(t, m, mt)
	}
	for conn, list := range m.asked {
		require.NotEmpty(t, list)
		for _, mt := range list {
			require.Same(t, m.methods[mt.name], mt)
			require.True(t, mt.hasDiscoverer(conn))
		}
		asked -= len(list)
	}
	for conn, list := range m.provided {
		require.NotEmpty(t, list)
		for _, p := range list {
			require.Equal(t, owner{m.cfg.Broker, conn}, p.owner)
			require.Same(t, p, m.find(p.entry()))
		}
		provided -= len(list)
	}
	require.Zero(t, asked, "discoverers and their methods do not mirror each other")
	require.Zero(t, provided, "methods and their providers do not mirror each other")
}

// checkOffers returns how many providers of our own connections a method has.
func checkOffers(t require.TestingT, m *PDManager, mt *method) (own int) {
	all := 0
	require.True(t, slices.IsSortedFunc(mt.offers, func(a, b *offer) int { return int(a.seq) - int(b.seq) }))
	require.True(t, slices.IsSortedFunc(mt.byHost, func(a, b *offer) int { return compareHosts(a, b.host) }))
	require.Len(t, mt.byHost, len(mt.offers))
	for _, o := range mt.offers {
		require.Same(t, mt, o.method)
		require.Same(t, o, mt.offer(o.host))
		require.NotEmpty(t, o.providers)
		all += len(o.providers)
		for _, p := range o.providers {
			require.Same(t, o, p.offer)
			if p.owner.broker == m.cfg.Broker {
				require.True(t, slices.Contains(m.provided[p.owner.conn], p))
				own++
			}
		}
	}
	require.Equal(t, mt.providers, all)
	return own
}

func describe(n Notice) string {
	word := "offline"
	if n.Online {
		word = "online"
	}
	return fmt.Sprintf("%d %s %s %s", n.Conn, word, n.Method, describeHost(message.ProviderHost{Host: n.Host, Instance: n.Instance, Hello: n.Hello}))
}

func describeHost(p message.ProviderHost) string {
	s := p.Host.String()
	if p.Instance != "" {
		s += " instance=" + p.Instance
	}
	if p.Hello {
		s += " hello"
	}
	return s
}
