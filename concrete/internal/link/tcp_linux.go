package link

import "syscall"

// Socket options of linux/tcp.h.
const (
	tcpUserTimeout  = 18
	tcpNotSentLowat = 25
)

func setOptions(fd uintptr) {
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(userTimeout.Milliseconds()))
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsentBytes)
}
