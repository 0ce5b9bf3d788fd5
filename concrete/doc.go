// Package concrete is a folder: each package below it implements a contract of
// package abstract with one library, and imports none of its siblings.
//
// Transports (BaseServer, BaseClient, BaseConnection), which behave alike and run
// one suite of tests, abstract/transporttest:
//
//   - tcp: netpoll, what a server uses for TCP on Linux and macOS;
//   - stdnet: the standard library's net, for TCP and unix sockets on every
//     system, and what a client uses;
//   - mem: inside the process, for tests, in virtual time too.
//
// What goes over them:
//
//   - lv: length-value frames (BaseProtocol);
//   - message: the JSON messages in them (Codec).
//
// And what servers stand on:
//
//   - memstore: the Store in memory;
//   - etcdstore: the Store on etcd, in the process or elsewhere;
//   - udp: datagrams, for heartbeats;
//   - workers: goroutines that are kept for the next function.
//
// Of the packages that only these share, internal/link holds what all transports have in common: the buffer,
// the queues, delivery and the life of a connection, internal/sock reads and writes
// a socket, and internal/kvtree is the ordered set of keys of both Stores.
package concrete
