// Package trefoiltest runs a broker, providers and clients inside a test: no ports, no
// processes, and nothing is left when the test ends. They are the real ones, on an
// in-process network that can be broken: connections that are cut, fall silent or are
// not read, a broker that restarts, a provider that dies.
//
//	broker := trefoiltest.New(t)
//	err := Greet.Handle(broker.Provide(t), greet) // registered when it returns
//	text, err := Greet.Call(t.Context(), broker.Rpc(t), GreetArgs{"you"})
//
// All of it also runs inside a bubble of testing/synctest, made with New inside: there
// an hour of heartbeats takes a millisecond, and what happens when is exact.
//
// What the test cannot do without, such as a broker that starts, ends the test with
// t.Fatal when it fails; so call these functions on the test's own goroutine. Warnings
// of all parts go to the test's log.
package trefoiltest
