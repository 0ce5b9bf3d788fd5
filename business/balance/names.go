package balance

import (
	"strings"

	"trefoil/abstract"
)

// Settings are what balancers that are chosen by name may need.
type Settings struct {
	Zone string // the caller's own
	Rand Rand   // nil is the usual source of random numbers
}

// Default is the name of the balancer that is used when none is named.
const Default = "least-pending"

// zoneName stands before a colon and another balancer's name, or alone.
const zoneName = "zone"

// table returns the balancers with their names.
func table() []struct {
	name string
	make func(Settings) Balancer
} {
	return []struct {
		name string
		make func(Settings) Balancer
	}{
		{Default, func(s Settings) Balancer { return NewLeastPending(s.Rand) }},
		{"round-robin", func(s Settings) Balancer { return newRoundRobin(s.Rand) }},
		{"random", func(s Settings) Balancer { return NewRandom(s.Rand) }},
		{"weighted", func(s Settings) Balancer { return NewWeighted(s.Rand) }},
		{"latency", func(s Settings) Balancer { return NewLatency(s.Rand) }},
		{"hash", func(s Settings) Balancer { return NewHash(0, s.Rand) }},
	}
}

// Names returns the names that ByName knows; "zone" also as "zone:NAME".
func Names() []string {
	var names []string
	for _, row := range table() {
		names = append(names, row.name)
	}
	return append(names, zoneName)
}

// ByName returns what makes the balancer of a name; an empty name is Default. Each
// Group needs a balancer of its own. "zone" keeps calls in their zone and balances
// there as Default does, "zone:NAME" as NAME does.
func ByName(name string) (func(Settings) Balancer, error) {
	if name == "" {
		name = Default
	}
	for _, row := range table() {
		if row.name == name {
			return row.make, nil
		}
	}
	if zone, inner, _ := strings.Cut(name, ":"); zone == zoneName && !strings.HasPrefix(inner, zoneName) {
		choose, err := ByName(inner)
		if err != nil {
			return nil, err
		}
		return func(s Settings) Balancer {
			return NewZone(ZoneConfig{Own: s.Zone, Rand: s.Rand, Inner: func() Balancer { return choose(s) }})
		}, nil
	}
	return nil, abstract.Errorf(abstract.InvalidParams, "no balancer is named %q; use one of %s, or zone:NAME", name, strings.Join(Names(), ", "))
}
