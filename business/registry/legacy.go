package registry

import (
	"slices"

	"trefoil/abstract"
	"trefoil/concrete/message"
)

// Legacy peers hear that hosts come and go, and nothing else. They see the providers
// that are to be called: those that are up, and lost ones, in which the registry still
// believes. Unhealthy ones they see only when there is no other: somebody whom perhaps
// they reach is better than nobody.

// legacy is what News is to legacy peers.
type legacy struct {
	saw, sees bool // the host, before and now
	only      bool // it is for them: to modern peers nothing has changed
}

// Legacy returns what a legacy peer is to be told: online or offline; not ok: nothing.
func (n *News) Legacy() (online, ok bool) { return n.sees, n.saw != n.sees }

// Modern says whether modern peers are to be told.
func (n *News) Modern() bool { return !n.only }

// ForLegacy returns the hosts of a method that legacy peers see. It is the slice itself
// when they see all of them.
func ForLegacy(hosts []message.ProviderHost) []message.ProviderHost {
	well := slices.ContainsFunc(hosts, func(h message.ProviderHost) bool { return isWell(h.State) })
	hidden := func(h message.ProviderHost) bool { return !visible(h.State, well) }
	if !slices.ContainsFunc(hosts, hidden) {
		return hosts
	}
	return slices.DeleteFunc(slices.Clone(hosts), hidden)
}

func isWell(s abstract.ProviderState) bool { return s == abstract.Up || s == abstract.Lost }

// visible says whether legacy peers see a provider in such a state, where any is well
// or none.
func visible(s abstract.ProviderState, well bool) bool {
	return isWell(s) || s == abstract.Unhealthy && !well
}

// healths counts the offers of a method by what discoverers were told of them.
type healths struct{ well, sick int }

func (h *healths) add(s abstract.ProviderState, n int) {
	switch {
	case isWell(s):
		h.well += n
	case s == abstract.Unhealthy:
		h.sick += n
	}
}

// count takes a change into account, and sets what it is to legacy peers.
func (mt *method) count(o *offer, n *News) {
	was := mt.well > 0
	if n.Before {
		mt.add(o.told, -1)
	}
	n.saw = n.Before && visible(o.told, was)
	o.told = n.State
	if n.Online {
		mt.add(o.told, 1)
	}
	n.sees = n.Online && visible(o.told, mt.well > 0)
}

// tellLegacy appends what the change of one host is to the others, for legacy peers: the
// unhealthy ones appear with the loss of the last that is well, and vanish with the
// first.
func (mt *method) tellLegacy(m *PDManager, notices []Notice, but *offer) []Notice {
	for _, o := range mt.offers {
		if o == but || o.told != abstract.Unhealthy {
			continue
		}
		sees := mt.well == 0
		n := &News{Method: mt.name, Online: sees, Before: true, ProviderHost: m.shown(o.face()), legacy: legacy{saw: !sees, sees: sees, only: true}}
		for _, conn := range mt.discoverers {
			notices = append(notices, Notice{conn, n})
		}
	}
	return notices
}
