package link

import (
	"net"
	"time"
)

// KeepAlive finds dead peers of idle TCP connections: after 15 s of silence a
// probe every 5 s, and the end after the third without an answer.
func KeepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}
}

// userTimeout is how long written bytes may stay unacknowledged.
const userTimeout = 20 * time.Second

// unsentBytes bounds what the kernel holds of a connection without having sent it.
// What is there cannot be overtaken: the rest waits in the outbox, where a higher
// class goes first.
const unsentBytes = 128 << 10

// Tune sets what Go's net does not: TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT, where
// the system has them. Other connections than TCP are left as they are.
func Tune(nc net.Conn) {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := t.SyscallConn(); err == nil {
		_ = raw.Control(setOptions) // an old kernel does without
	}
}
