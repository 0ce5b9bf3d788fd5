// Package idle is the table of what memory is held by who does nothing: by
// connections after traffic, by sessions with one registration, and by a broker
// after a burst.
//
// Memory per connection is the server's resident memory with all of them minus
// that before the first, after a few calls on each and a pause, divided by their
// number: once as the process left it, once after it has collected its garbage
// and given memory back. Kernel socket memory is not in it. Client and server run
// as they come, so Trefoil's connections go on pinging each other.
package idle
