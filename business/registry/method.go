package registry

import (
	"cmp"
	"slices"
	"strings"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// method is a name that somebody provides or has asked about. Its lists are
// sorted slices: most hold one element, and a map costs more than the element.
type method struct {
	name        string
	offers      []*offer // by seq: in the order in which they came online
	byHost      []*offer // the same by host
	providers   int      // of all offers
	discoverers []ConnID // in order
	revision    uint64   // counts what discoverers were told
	healths
	shown  []message.ProviderHost
	relays []Relay // see Relays; nil: not known
}

// offer is a host where a method is offered, by one connection or several.
type offer struct {
	method    *method
	host      abstract.Host
	seq       uint64
	told      abstract.ProviderState // what discoverers know of it
	providers []*provider            // never empty, in the order of registration
	first     [1]*provider           // their memory, as long as there is one
}

// provider is one connection's registration of a method at a host.
type provider struct {
	offer    *offer
	owner    owner
	instance string
	reason   Reason // why it goes, when it has been planned to
	lost     bool   // its connection is gone, and it is kept
	rev      int64  // of the last change of its key
	said
}

func (p *provider) entry() entry {
	return entry{method: p.offer.method.name, owner: p.owner, instance: p.instance, host: p.offer.host}
}

// provider returns the one of an owner with an instance id, or nil.
func (o *offer) provider(by owner, instance string) *provider {
	for _, p := range o.providers {
		if p.owner == by && p.instance == instance {
			return p
		}
	}
	return nil
}

// face returns the provider that discoverers are told about: the newest that
// speaks HELLO, as an older one may be what is left of a dead connection; one that is
// known to be lost only when there is no other.
func (o *offer) face() *provider {
	best := o.providers[len(o.providers)-1]
	for _, p := range slices.Backward(o.providers) {
		if p.hello && !p.lost {
			return p
		}
		if best.lost && !p.lost {
			best = p
		}
	}
	return best
}

func compareHosts(o *offer, h abstract.Host) int {
	return cmp.Or(strings.Compare(o.host.IP, h.IP), cmp.Compare(o.host.Port, h.Port))
}

// offer returns the offer at a host, or nil.
func (mt *method) offer(h abstract.Host) *offer {
	i, found := slices.BinarySearchFunc(mt.byHost, h, compareHosts)
	if !found {
		return nil
	}
	return mt.byHost[i]
}

// addOffer adds one that is not there. Its seq is the highest.
func (mt *method) addOffer(o *offer) {
	i, _ := slices.BinarySearchFunc(mt.byHost, o.host, compareHosts)
	mt.byHost = slices.Insert(mt.byHost, i, o)
	mt.offers = append(mt.offers, o)
}

func (mt *method) removeOffer(o *offer) {
	i, _ := slices.BinarySearchFunc(mt.byHost, o.host, compareHosts)
	mt.byHost = slices.Delete(mt.byHost, i, i+1)
	i, _ = slices.BinarySearchFunc(mt.offers, o.seq, func(o *offer, seq uint64) int { return cmp.Compare(o.seq, seq) })
	mt.offers = slices.Delete(mt.offers, i, i+1)
}

// hosts returns what a discovery answers. It is made again after changes only,
// so the same slice answers many discoverers.
func (m *PDManager) hosts(mt *method) []message.ProviderHost {
	if mt.shown == nil {
		mt.shown = make([]message.ProviderHost, len(mt.offers))
		for i, o := range mt.offers {
			mt.shown[i] = m.shown(o.face())
		}
	}
	return mt.shown
}

// shown is what discoverers are told of a provider: what it says of itself, and what
// is known here of its state.
func (m *PDManager) shown(p *provider) message.ProviderHost {
	h := message.ProviderHost{Host: p.offer.host, Instance: p.instance, Hello: p.hello, Traits: p.said.shown()}
	switch {
	case h.State != abstract.Up: // its own word counts most
	case p.lost:
		h.State = abstract.Lost
	case len(m.marks) > 0:
		h.State = m.marks[h.Host]
	}
	return h
}

func (mt *method) hasDiscoverer(conn ConnID) bool {
	_, found := slices.BinarySearch(mt.discoverers, conn)
	return found
}

// addDiscoverer adds one that is not there.
func (mt *method) addDiscoverer(conn ConnID) {
	i, _ := slices.BinarySearch(mt.discoverers, conn)
	mt.discoverers = slices.Insert(mt.discoverers, i, conn)
}

// removeDiscoverer removes one that is there.
func (mt *method) removeDiscoverer(conn ConnID) {
	i, _ := slices.BinarySearch(mt.discoverers, conn)
	mt.discoverers = slices.Delete(mt.discoverers, i, i+1)
}

// tell appends the notices of what happened to a host, once for each discoverer. Method
// and Revision of n are filled in.
func (m *PDManager) tell(notices []Notice, o *offer, n News) []Notice {
	mt := o.method
	mt.revision++
	was := mt.well > 0
	mt.count(o, &n)
	turned := mt.sick > 0 && was != (mt.well > 0)
	if turned && was {
		notices = mt.tellLegacy(m, notices, o) // before the one goes that they have
	}
	notices = mt.tellOf(notices, n)
	if turned && !was {
		notices = mt.tellLegacy(m, notices, o)
	}
	return notices
}

func (mt *method) tellOf(notices []Notice, n News) []Notice {
	if len(mt.discoverers) == 0 {
		return notices
	}
	shared := new(News) // not n itself, which would cost memory where nobody is told
	*shared = n
	shared.Method, shared.Revision = mt.name, mt.revision
	notices = slices.Grow(notices, len(mt.discoverers))
	for _, conn := range mt.discoverers {
		notices = append(notices, Notice{conn, shared})
	}
	return notices
}
