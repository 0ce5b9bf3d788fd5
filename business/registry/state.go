package registry

import (
	"cmp"
	"slices"
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Mark notes what is known here of a host's state, beside what its providers say of
// themselves: Unhealthy, or Up for nothing. It holds for every method, also for those
// that are registered there later, until another Mark.
func (m *PDManager) Mark(host abstract.Host, s abstract.ProviderState) []Notice {
	if m.marks[host] == s {
		return nil
	}
	return m.change(host, func() {
		if s == abstract.Up {
			delete(m.marks, host)
		} else {
			m.marks[host] = s
		}
	})
}

// change does something to a host, and returns what discoverers are to be told of it.
func (m *PDManager) change(host abstract.Host, do func()) []Notice {
	var offers []*offer
	for _, mt := range m.methods {
		if o := mt.offer(host); o != nil {
			offers = append(offers, o)
		}
	}
	return m.alter(offers, do)
}

// alter does something that changes how offers look, and returns what discoverers are
// to be told of it, in an order that depends on nothing else.
func (m *PDManager) alter(offers []*offer, do func()) []Notice {
	slices.SortFunc(offers, func(a, b *offer) int {
		return cmp.Or(strings.Compare(a.method.name, b.method.name), compareHosts(a, b.host))
	})
	was := make([]message.ProviderHost, len(offers))
	for i, o := range offers {
		was[i] = m.shown(o.face())
		o.method.shown, o.method.relays = nil, nil
	}
	do()
	var notices []Notice
	for i, o := range offers {
		notices = m.compare(notices, o, was[i])
	}
	return notices
}

// Lose notes that a connection is gone whose providers are kept: they are shown as
// Lost, and a provider that registers at the same host takes the place of one of them.
// PlanDisconnect removes them as ever. The connection's end comes behind all that it has
// asked for: after this nothing but that may be planned for it.
func (m *PDManager) Lose(conn ConnID) []Notice {
	var offers []*offer
	for _, p := range m.provided[conn] {
		if !slices.Contains(offers, p.offer) {
			offers = append(offers, p.offer)
		}
	}
	return m.alter(offers, func() {
		for _, p := range m.provided[conn] {
			p.lost = true
		}
	})
}

// Hosts returns every host that somebody provides something at, with one provider that
// is shown there.
func (m *PDManager) Hosts() []Provided {
	seen := make(map[abstract.Host]int)
	var list []Provided
	for _, mt := range m.methods {
		for _, o := range mt.offers {
			h := m.shown(o.face())
			i, ok := seen[o.host]
			if !ok {
				i = len(list)
				seen[o.host] = i
				list = append(list, Provided{ProviderHost: h})
			}
			list[i].Methods = append(list[i].Methods, mt.name)
		}
	}
	for i := range list {
		slices.Sort(list[i].Methods)
	}
	slices.SortFunc(list, func(a, b Provided) int {
		return cmp.Or(strings.Compare(a.Host.IP, b.Host.IP), cmp.Compare(a.Host.Port, b.Host.Port))
	})
	return list
}

// Provided is a host and what is provided there.
type Provided struct {
	message.ProviderHost
	Methods []string // in order
}

// Methods returns how many methods somebody provides.
func (m *PDManager) Methods() int {
	n := 0
	for _, mt := range m.methods {
		if len(mt.offers) > 0 {
			n++
		}
	}
	return n
}

// ProvidesAt says whether conn provides anything at a host, as that instance.
func (m *PDManager) ProvidesAt(conn ConnID, host abstract.Host, instance string) bool {
	return slices.ContainsFunc(m.provided[conn], func(p *provider) bool {
		return p.instance == instance && p.offer.host == host
	})
}

// Providing says whether a connection of ours provides something.
func (m *PDManager) Providing(conn ConnID) bool { return len(m.provided[conn]) > 0 }

// Discoverers returns who is told about a method; not ok: conn is none of them, or
// nobody provides the method at the host any more, or as that instance if one is
// named. Of p only host and instance are looked at. The slice is the index's own.
func (m *PDManager) Discoverers(conn ConnID, name string, p message.ProviderHost) (all []ConnID, ok bool) {
	mt := m.methods[name]
	if mt == nil || !mt.hasDiscoverer(conn) {
		return nil, false
	}
	o := mt.offer(p.Host)
	if o == nil || p.Instance != "" && p.Instance != o.face().instance {
		return nil, false
	}
	return mt.discoverers, true
}

// Connections returns how many connections of ours provide something. Those that are
// about to be removed are not counted.
func (m *PDManager) Connections() int { return len(m.provided) - len(m.leaving) }
