// Package stdnet is the transport over Go's own net: TCP and unix sockets, on
// every system. Each connection has one reading goroutine. On Linux and macOS an
// idle connection holds no read buffer, and writes go straight to the socket; on
// other systems a goroutine writes while there is something to write.
//
// A peer that sends faster than its Receiver takes is held up by TCP once half of
// MaxInbound waits; it is not cut off. A peer that closes its half of the
// connection still gets the answers that are queued by then, and no later ones.
//
// Addresses are "host:port", or "unix:/path" for a unix socket, whose file only
// its owner may use (mode 0600).
package stdnet
