// Package mem is the transport inside one process: a Network is a little internet
// of named servers. Tests and examples run on it without ports, in virtual time
// too (testing/synctest: make the Network inside the bubble), and can break it:
// Cut, Refuse and Blackhole. Its connections hold 256 KiB in each direction, so
// that a slow reader holds its writer up as a socket would.
package mem
