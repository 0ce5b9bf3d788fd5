// Package tcp is the transport over netpoll, for servers with many connections on
// Linux and macOS: an idle connection has no goroutine and no buffer. Elsewhere
// its servers and clients say that stdnet is to be used.
//
// A server's first connections (TransportConfig.Served) have a goroutine each that
// reads and calls the Receiver, as over stdnet in Direct mode, but that the Receiver
// may be passed over with Yield.
//
// The process's one poller reads for all other connections. It copies what it read to
// the connection's queue and goes on; frames are decoded, and Receivers called, by
// a worker of that connection, which exists while there is work. The poller is
// never held up, so it cannot hold a peer up either: a peer that sends more than
// MaxInbound bytes ahead of its Receiver is disconnected (stdnet makes it wait).
// For the same reason Direct is ignored there. A peer that closes its half of a
// connection has closed it: what was received is handled, answers may be lost.
//
// The first server or client configures netpoll for the whole process: buffers of
// 16 KiB, a runner that runs our servers' callbacks on the poller and everybody
// else's on a new goroutine, and no log (ours says what matters). A program that uses netpoll itself, with a
// configuration of its own, applies it after that.
package tcp
