// Package stdnet is the transport over Go's own net: TCP and unix sockets, on
// every system. Each connection has one reading goroutine. On Linux and macOS an
// idle connection holds no read buffer, and writes go straight to the socket; on
// other systems a goroutine writes while there is something to write.
//
// A peer that sends faster than its Receiver takes is held up by TCP once half of
// MaxInbound waits; it is not cut off. A peer that closes its half of the
// connection still gets the answers that are queued by then, and no later ones.
//
// NewTLSServer and NewTLSClient do the same over TLS 1.3, with certificates that are
// read again when their files change. The end of a half is close_notify there, and
// writes are made by a goroutine on every system. PeerCertificates says who the peer
// of a connection proved to be.
//
// Addresses are "host:port", or "unix:/path" for a unix socket, whose file only
// its owner may use (mode 0600).
package stdnet
