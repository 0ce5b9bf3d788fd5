package balance

import (
	"time"

	"trefoil/abstract"
)

// DefaultWeight is the weight of an instance that has none.
const DefaultWeight = 100

// Instance describes one place that serves a method. Within a Group ID and Host
// together are its name: when one of them changes, it is another instance.
type Instance struct {
	ID       string // the instance's own; empty for a legacy provider
	Host     abstract.Host
	Weight   int // its share of the calls, next to the others'; 0 or less means DefaultWeight
	Zone     string
	Version  string
	Tags     []string
	Since    time.Time // when it was first seen, by this process's clock; zero: when the Group first saw it
	Draining bool      // it finishes what it has, and gets no new calls
	Ejected  bool      // somebody else than the Group has found that it is not to be used; it gets calls only when all are ejected
	Value    any       // the caller's own; nobody here looks at it
}

// name is what an instance is told apart by.
type name struct {
	id   string
	host abstract.Host
}

func (i *Instance) name() name { return name{i.ID, i.Host} }

func (i *Instance) weight() float64 {
	if i.Weight <= 0 {
		return DefaultWeight
	}
	return float64(i.Weight)
}

// place is a number made of the instance's address, the same in every process:
// an instance that restarts at its address is where it was.
func (i *Instance) place() uint64 { return mix(hashed(i.Host.IP) + uint64(i.Host.Port)) }

// hashed is FNV-1a of s.
func hashed(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix spreads a number's bits over all 64 of them: the finish of SplitMix64
// (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
