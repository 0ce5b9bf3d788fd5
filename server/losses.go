package server

import (
	"context"
	"encoding/json"
	"time"

	"trefoil/abstract"
	"trefoil/business/registry"
)

// LossProtection says when a registry does not believe that many providers are lost at
// once: when most connections that provide something break within seconds, it is rather
// the broker's network that is broken. Those that are lost from then on are kept, as
// providers in the state lost, until they come back, the time is over, or it is
// lifted. The zero value takes the defaults.
type LossProtection struct {
	Share float64       // of the connections that provide something; default 0.5, negative: every loss is believed at once
	Hold  time.Duration // for so long at most; default 1 min
}

// keep decides, with the lock held, whether the providers of a lost connection are
// kept, and then tells their discoverers.
func (s *RegistryServer) keep(c *conn, now time.Time) bool {
	id := registry.ConnID(c.id)
	if !s.pd.Providing(id) {
		return false
	}
	keep, began := s.losses.Lost(s.pd.Connections(), now)
	if began {
		s.ep.logs.registry.Error("most providers are lost at once: from now on they are kept; see 'trefoil registry status', and lift it with 'trefoil registry lift'",
			"until", s.losses.Until())
		s.endHold(s.losses.Until().Sub(now))
	}
	if keep {
		s.held = append(s.held, id)
		s.notify(s.pd.Lose(id))
	}
	return keep
}

// endHold lets go of what is held after a while. It is called with the lock held.
func (s *RegistryServer) endHold(after time.Duration) {
	if s.later == nil {
		return
	}
	if s.holding != nil {
		s.holding.Stop()
	}
	s.holding = time.AfterFunc(after, func() { s.lift() })
}

// lift ends the protection, removes the providers that did not come back, and returns
// of how many connections they were.
func (s *RegistryServer) lift() int {
	s.index.Lock()
	s.losses.Lift()
	gone := s.held
	s.held = nil
	if s.holding != nil {
		s.holding.Stop()
		s.holding = nil
	}
	var txns []abstract.Txn
	for _, id := range gone {
		txns = append(txns, s.pd.PlanDisconnect(id, registry.Disconnected)...)
	}
	s.index.Unlock()
	if len(gone) > 0 {
		s.ep.logs.registry.Warn("providers that were lost and kept are gone now", "connections", len(gone))
	}
	s.removeLater(txns)
	return len(gone)
}

func (s *RegistryServer) plausible(down, all int) bool { return s.losses.Plausible(down, all) }

// RegistryStatus is how a registry is.
type RegistryStatus struct {
	Methods     int      `json:"methods"`     // that somebody provides
	Hosts       int      `json:"hosts"`       // where somebody provides something
	Connections int      `json:"connections"` // that provide something, lost ones that are kept included
	Draining    []string `json:"draining"`    // hosts that take no new calls
	Unhealthy   []string `json:"unhealthy"`   // hosts that could not be reached
	Lost        []string `json:"lost"`        // hosts that are kept although their connections are gone
	Protected   bool     `json:"protected"`   // losses are not believed now
	SinceMs     int64    `json:"since_ms"`    // how long for
	LeftMs      int64    `json:"left_ms"`     // and how long still, at most
}

// Status returns how the registry is.
func (s *RegistryServer) Status() RegistryStatus {
	now := time.Now()
	s.index.Lock()
	hosts := s.pd.Hosts()
	st := RegistryStatus{
		Hosts: len(hosts), Methods: s.pd.Methods(), Connections: s.pd.Connections(), Protected: s.losses.On(now),
		Draining: []string{}, Unhealthy: []string{}, Lost: []string{},
	}
	if st.Protected {
		st.SinceMs, st.LeftMs = now.Sub(s.losses.Since()).Milliseconds(), s.losses.Until().Sub(now).Milliseconds()
	}
	s.index.Unlock()
	for _, h := range hosts {
		switch h.State {
		case abstract.Retiring:
			st.Draining = append(st.Draining, h.Host.String())
		case abstract.Unhealthy:
			st.Unhealthy = append(st.Unhealthy, h.Host.String())
		case abstract.Lost:
			st.Lost = append(st.Lost, h.Host.String())
		}
	}
	return st
}

// LiftProtection ends the protection against the loss of many providers at once:
// those that are lost and kept go offline now. It returns of how many connections they
// were.
func (s *RegistryServer) LiftProtection() int { return s.lift() }

// RegistryLifted is what came of LiftProtection.
type RegistryLifted struct {
	Connections int `json:"connections"` // whose providers had been kept
}

// The methods by which a broker's registry is looked after from afar.
const (
	MethodRegistryStatus = "trefoil.registry.status" // answers a RegistryStatus
	MethodRegistryLift   = "trefoil.registry.lift"   // is LiftProtection, answers RegistryLifted
)

// administer serves the methods that look after a registry.
func (b *Broker) administer() {
	if b.rpc == nil || b.registry == nil {
		return
	}
	serve := func(method string, do func() any) {
		err := b.rpc.router.Add(Description{Method: method, Result: KindAny}, func(context.Context, json.RawMessage) (any, error) { return do(), nil })
		b.ep.commands[method] = struct{}{}
		if err != nil {
			panic(err) // two constants that are the same, or no names
		}
	}
	serve(MethodRegistryStatus, func() any { return b.registry.Status() })
	serve(MethodRegistryLift, func() any { return RegistryLifted{b.registry.LiftProtection()} })
}

// RegistryStatus returns how the broker's registry is; the zero RegistryStatus
// without RoleRegistry.
func (b *Broker) RegistryStatus() RegistryStatus {
	if b.registry == nil {
		return RegistryStatus{}
	}
	return b.registry.Status()
}
