package link

import (
	"math"
	"syscall"
	"time"
)

// Socket options of linux/tcp.h.
const (
	tcpUserTimeout  = 18
	tcpNotSentLowat = 25
)

func setOptions(fd uintptr, unacknowledged time.Duration) {
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(min(unacknowledged.Milliseconds(), math.MaxInt32)))
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsentBytes)
}
