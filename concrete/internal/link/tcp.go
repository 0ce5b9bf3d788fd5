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

// userTimeout is how long written bytes may stay unacknowledged, or not even sent because
// the peer reads nothing, at least: a write that may take longer has its own time.
const userTimeout = 20 * time.Second

// unsentBytes bounds what the kernel holds of a connection without having sent it.
// What is there cannot be overtaken: the rest waits in the outbox, where a higher
// class goes first.
const unsentBytes = 128 << 10

// Tune sets what Go's net does not: TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT, where
// the system has them. writing is how long a write may take. Other connections than TCP,
// and TLS over it, are left as they are.
func Tune(nc net.Conn, writing time.Duration) {
	if over, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = over.NetConn()
	}
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := t.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { setOptions(fd, max(userTimeout, writing)) }) // an old kernel does without
	}
}
