package balance

import (
	"slices"
	"sync/atomic"

	"trefoil/abstract"
)

// fromPicker is a Picker as a Balancer.
type fromPicker struct {
	Passive
	method string
	picker abstract.Picker
	offer  atomic.Pointer[offer]
}

// offer is a list of members as a Picker sees it.
type offer struct {
	list      []*Member
	providers []abstract.Provider
}

// FromPicker makes a Balancer of a Picker for one method. The Picker sees the
// members that may be chosen; weights and slow start it does not see.
func FromPicker(method string, p abstract.Picker) Balancer {
	return &fromPicker{method: method, picker: p}
}

// Change takes the members to offer.
func (b *fromPicker) Change(m Members) { b.offer.Store(b.offered(m.List)) }

func (b *fromPicker) offered(list []*Member) *offer {
	o := &offer{list: list, providers: make([]abstract.Provider, len(list))}
	for i, m := range list {
		in := m.Instance()
		o.providers[i] = abstract.Provider{Method: b.method, Host: in.Host, Instance: in.ID, Hello: in.ID != ""}
	}
	return o
}

// Choose lets the Picker pick.
func (b *fromPicker) Choose(c Call) *Member {
	o := b.offer.Load()
	if o != nil && c.Avoid != nil {
		o = b.offered(slices.DeleteFunc(slices.Clone(o.list), c.Avoid))
	}
	if o == nil || len(o.list) == 0 {
		return nil
	}
	return o.list[b.picker.Pick(o.providers)]
}
