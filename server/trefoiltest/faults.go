package trefoiltest

import "trefoil/concrete/mem"

// Faults breaks the connections of one part: those that it has opened and those that
// others have opened to it. What they do has happened when they return, but for what
// the other parts make of it: in a bubble, synctest.Wait waits for that.
type Faults struct{ machine *mem.Machine }

// Cut closes the connections. Both sides get what was sent before, and notice. Clients
// connect again by themselves.
func (f Faults) Cut() { f.machine.Cut() }

// HalfOpen lets the connections fall silent for ever: neither side hears of it until it
// has missed enough pings, as when a machine lost its power. New connections work.
func (f Faults) HalfOpen() { f.machine.Strand() }

// Vanish lets everything vanish that goes in or out, and new connections wait, until
// Heal; as when a cable was pulled.
func (f Faults) Vanish() { f.machine.Blackhole(true) }

// Stall keeps what comes from being read, until Heal; what is sent still goes out. Pings
// are not read either: who is stalled for longer than they allow is taken for dead. To
// be only slow, block in a callback.
func (f Faults) Stall() { f.machine.Stall(true) }

// Refuse makes new connections fail at once, until Heal. Those that there are stay.
func (f Faults) Refuse() { f.machine.Refuse(true) }

// Heal ends what Vanish, Stall and Refuse have begun. Connections that have lost
// something are closed then, and both sides notice.
func (f Faults) Heal() {
	f.machine.Refuse(false)
	f.machine.Blackhole(false)
	f.machine.Stall(false)
}
