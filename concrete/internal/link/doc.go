// Package link is what every transport has in common: the assembler of received
// bytes, the queues and write classes of a connection, delivery to its Receiver,
// and the life of a server. A transport adds a Wire, which moves bytes, and a way
// to call Conn.Receive.
//
// A connection that is idle holds no goroutine of this package, no read buffer
// and no queue.
package link
