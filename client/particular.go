package client

import (
	"slices"
	"time"

	"trefoil/abstract"
	"trefoil/business/balance"
)

// particular says whether the call wants other providers than the balancer's.
func (x *extras) particular() bool { return x != nil && (x.zone != "" || x.pinned()) }

// pinned says whether only one provider may be asked.
func (x *extras) pinned() bool { return x != nil && (x.instance != "" || x.only != nil) }

// once says whether that provider is asked once only.
func (x *extras) once() bool { return x != nil && x.only != nil }

// nearby is choice among the providers of the zone that the call wants. It is called
// with the lock held.
func (p *providers) nearby(r *route, c *call, k balance.Call, tried []*provider) (choice, *provider) {
	if c.extra == nil || c.extra.zone == "" {
		return choice{}, nil
	}
	far := slices.Clone(tried)
	for _, q := range r.list {
		if q.Zone != c.extra.zone {
			far = append(far, q.entry)
		}
	}
	return p.choice(r, c, k, far, true)
}

// chooseOnly is choose for a call that only one provider may be asked. It is called
// with the lock held.
func (p *providers) chooseOnly(r *route, c *call, now time.Time) (*provider, error) {
	h := c.extra.only
	if h == nil {
		h = r.byName(c.extra.instance)
	} else if !r.lists(h) {
		return nil, &abstract.Error{Code: abstract.Unavailable, Message: "the provider has left", Instance: h.addr, Sent: abstract.SentNo}
	}
	if h == nil {
		return nil, &abstract.Error{Code: abstract.ServiceNotFound, Message: "no provider " + c.extra.instance + " of it is known now", Sent: abstract.SentNo}
	}
	c.mu.Lock()
	failed := slices.Contains(c.tried, h)
	c.mu.Unlock()
	if failed && !p.fallBack(c, now) {
		return nil, errAllTried
	}
	if c.relay == RelayAlways && !h.info().Relay {
		return nil, &abstract.Error{Code: abstract.Unavailable, Message: "the provider takes no calls through the broker", Instance: h.addr, Sent: abstract.SentNo}
	}
	if !c.through(h, now) && h.gone.Load() {
		return nil, &abstract.Error{Code: abstract.WrongInstance, Message: "another process has the provider's address now", Instance: h.addr, Sent: abstract.SentNo}
	}
	permit, ok := h.breaker.Allow(now)
	if !ok {
		return nil, errOpen(h.addr, h.breaker.Again(now), now)
	}
	c.mu.Lock()
	c.at = h
	c.mu.Unlock()
	c.choose(choice{breaker: h.breaker, permit: permit})
	return h, nil
}

// byName finds a provider by its own id or by its address. It is called with the lock held.
func (r *route) byName(name string) *provider {
	for _, q := range r.list {
		if q.Instance == name || q.entry.addr == name {
			return q.entry
		}
	}
	return nil
}

func (r *route) lists(h *provider) bool {
	return slices.ContainsFunc(r.list, func(q *listed) bool { return q.entry == h })
}

// loyal are the calls that wait on for a connection that takes long: those that only
// this provider may be asked, unless the broker passes them on. It is called with the
// lock held.
func (h *provider) loyal(waiting map[*routing]struct{}) map[*routing]struct{} {
	var stay map[*routing]struct{}
	for w := range waiting {
		if !w.call.extra.pinned() || w.call.relay == RelayAuto && h.info().Relay && h.owner.bywayOpen(time.Now()) {
			continue
		}
		if stay == nil {
			stay = make(map[*routing]struct{})
		}
		stay[w] = struct{}{}
	}
	return stay
}
