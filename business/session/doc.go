// Package session is the state of the sessions that clients hold at a broker: who
// has shown a sign of life, and whose time is over.
//
// A session outlives connections. It is kept alive by whatever comes over the
// connection it is on, and by heartbeat datagrams; when too many intervals in a
// row pass without either, it expires and what belongs to it goes. A session that
// owns nodes stands in the Store too and survives a restart of the broker; the
// others are known to this package only.
//
// All times are durations on a monotonic scale of the caller's, so that no clock
// that somebody sets has a say in who lives.
package session
