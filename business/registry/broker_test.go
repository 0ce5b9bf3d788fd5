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

func (b *broker) register(conn ConnID, p message.ProviderHost, methods ...string) []Notice {
	txn, err := b.pd.PlanRegister(conn, p, methods...)
	require.NoError(b.t, err)
	return b.run(txn)
}

func (b *broker) unregister(conn ConnID, p message.ProviderHost, methods ...string) []Notice {
	txn, err := b.pd.PlanUnregister(conn, Unregistered, p, methods...)
	require.NoError(b.t, err)
	return b.run(txn)
}

// gone is what happens when a connection is lost.
func (b *broker) gone(conn ConnID) []Notice {
	b.pd.Forget(conn)
	return b.run(b.pd.PlanDisconnect(conn, Disconnected)...)
}

func (b *broker) discover(conn ConnID, method string) []message.ProviderHost {
	hosts, _, err := b.pd.Discover(conn, method)
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

// online is the first notice about p, offline one after it.
func online(conn ConnID, method string, p message.ProviderHost) Notice {
	return Notice{conn, &News{Online: true, Method: method, Revision: 1, ProviderHost: p, legacy: legacy{sees: true}}}
}

func offline(conn ConnID, revision uint64, why Reason, method string, p message.ProviderHost) Notice {
	return Notice{conn, &News{Before: true, Method: method, Revision: revision, Reason: why, ProviderHost: p, legacy: legacy{saw: true}}}
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
	for conn := range m.leaving {
		require.NotEmpty(t, m.provided[conn])
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
	var told healths
	require.True(t, slices.IsSortedFunc(mt.offers, func(a, b *offer) int { return int(a.seq) - int(b.seq) }))
	require.True(t, slices.IsSortedFunc(mt.byHost, func(a, b *offer) int { return compareHosts(a, b.host) }))
	require.Len(t, mt.byHost, len(mt.offers))
	for _, o := range mt.offers {
		require.Same(t, mt, o.method)
		require.Same(t, o, mt.offer(o.host))
		require.NotEmpty(t, o.providers)
		require.Equal(t, m.shown(o.face()).State, o.told)
		told.add(o.told, 1)
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
	require.Equal(t, told, mt.healths)
	return own
}

func describe(n Notice) string {
	word := "offline"
	if n.Online {
		word = "online"
	}
	s := fmt.Sprintf("%d %s %s %s revision=%d", n.Conn, word, n.Method, describeHost(n.ProviderHost), n.Revision)
	if n.Reason != Unknown {
		s += " reason=" + n.Reason.String()
	}
	if online, ok := n.Legacy(); !n.Modern() {
		s += " (to legacy peers only)"
	} else if !ok {
		s += " (not to legacy peers)"
	} else if online != n.Online {
		s += " (to legacy peers: the opposite)"
	}
	return s
}

func describeHost(p message.ProviderHost) string {
	s := p.Host.String()
	if p.Instance != "" {
		s += " instance=" + p.Instance
	}
	if p.Hello {
		s += " hello"
	}
	if p.Weight != 0 {
		s += fmt.Sprintf(" weight=%d", p.Weight)
	}
	if p.State != abstract.Up {
		s += " " + p.State.String()
	}
	return s
}
