package registry

import (
	"slices"

	"trefoil/abstract"
)

// Relay is a provider that takes calls through its connection to this broker.
type Relay struct {
	Conn     ConnID
	Instance string
}

// Relays returns the providers of a method that take calls through their connections
// to this broker, in the order in which their hosts came online, and have not said
// that they drain. What the registry itself has found out about them does not count:
// that is whether they can be reached directly. Of several connections that offer
// the same instance at the same host only the newest is named, as an older one may
// be what is left of a dead one. The slice is shared and must not be changed.
func (m *PDManager) Relays(name string) []Relay {
	mt := m.methods[name]
	if mt == nil {
		return nil
	}
	if mt.relays == nil {
		mt.relays = mt.findRelays(m.cfg.Broker)
	}
	return mt.relays
}

// findRelays returns an empty slice, not nil, when there are none.
func (mt *method) findRelays(broker string) []Relay {
	relays := make([]Relay, 0, len(mt.offers))
	for _, o := range mt.offers {
		first := len(relays)
		for _, p := range slices.Backward(o.providers) {
			named := slices.ContainsFunc(relays[first:], func(r Relay) bool { return r.Instance == p.instance })
			if says := p.shown(); says.Relay && says.State == abstract.Up && !p.lost && p.owner.broker == broker && !named {
				relays = append(relays, Relay{p.owner.conn, p.instance})
			}
		}
	}
	return relays
}
