// Package sock reads and writes one socket through Go's own net, on a goroutine
// of the connection: what the transports that read so have in common. On Linux and
// macOS a connection that waits holds no read buffer, and writes go straight to the
// socket; on other systems a goroutine writes while there is something to write.
package sock
