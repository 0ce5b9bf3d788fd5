// Package mixed is the benchmark's table of calls beside a flood: how long a call
// through a broker takes while the same broker pushes a topic to 10,000
// subscribers.
//
// Calls come at a fixed rate, and their latency counts from when they were meant
// to start. One run goes through three phases: no flood; a flood as fast as the
// broker and its subscribers can; a flood at half that rate. The contestants whose
// name ends in "-same" also subscribe to the flood on the connection that calls.
//
// Everything runs on one machine, so at saturation calls compete for the
// processors too, with the subscribers as with the broker.
package mixed
