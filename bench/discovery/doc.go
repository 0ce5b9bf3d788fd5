// Package discovery is the benchmark's table of service discovery: how fast
// providers are found, registered and missed.
//
// The contestants do not promise the same. etcd and ZooKeeper write a log for
// consensus (here one node, in memory, without fsync: their most favourable
// setting); Trefoil's broker keeps its registry in memory. Trefoil's providers
// are bound to a connection, so a killed process is seen by its closed socket;
// theirs are bound to a session, so it is seen when the session expires, for
// which both get the shortest time they allow. A lost machine closes no socket:
// there Trefoil's pings decide, and they take seconds too.
//
// A look-up asks the server every time: Trefoil's Discover, etcd's serializable
// Get of the service's keys with 128 bytes each, ZooKeeper's names of the
// service's children.
package discovery
