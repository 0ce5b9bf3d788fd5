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
	shown       []message.ProviderHost
}

// offer is a host where a method is offered, by one connection or several.
type offer struct {
	method    *method
	host      abstract.Host
	seq       uint64
	providers []*provider // never empty, in the order of registration
}

// provider is one connection's registration of a method at a host.
type provider struct {
	offer    *offer
	owner    owner
	instance string
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
// speaks HELLO, as an older one may be what is left of a dead connection.
func (o *offer) face() *provider {
	for _, p := range slices.Backward(o.providers) {
		if p.hello {
			return p
		}
	}
	return o.providers[len(o.providers)-1]
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
func (mt *method) hosts() []message.ProviderHost {
	if mt.shown == nil {
		mt.shown = make([]message.ProviderHost, len(mt.offers))
		for i, o := range mt.offers {
			p := o.face()
			mt.shown[i] = message.ProviderHost{Host: o.host, Instance: p.instance, Hello: p.hello, Traits: p.shown()}
		}
	}
	return mt.shown
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

// tell appends the notice of what happened to a host, once for each discoverer.
func (mt *method) tell(notices []Notice, online bool, p *provider) []Notice {
	notices = slices.Grow(notices, len(mt.discoverers))
	for _, conn := range mt.discoverers {
		notices = append(notices, Notice{Conn: conn, Online: online, Method: mt.name, Host: p.offer.host, Instance: p.instance, Hello: p.hello, Traits: p.shown()})
	}
	return notices
}
