package harness

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// alarm is a timer that is exact to some microseconds. Go's own timers round up
// to a millisecond when nothing else is going on. It is for one goroutine.
type alarm struct {
	fd    int
	timer *os.File // nil: there is none, Go's timers have to do
}

func newAlarm() *alarm {
	const monotonic, nonblockCloexec = 1, syscall.O_NONBLOCK | syscall.O_CLOEXEC
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, monotonic, nonblockCloexec, 0)
	if errno != 0 {
		return &alarm{}
	}
	return &alarm{fd: int(fd), timer: os.NewFile(fd, "timerfd")}
}

// sleep sleeps for d. It may end early.
func (a *alarm) sleep(d time.Duration) {
	if a.timer == nil {
		time.Sleep(d)
		return
	}
	once := struct{ interval, value syscall.Timespec }{value: syscall.NsecToTimespec(int64(d))}
	_, _, errno := syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(a.fd), 0, uintptr(unsafe.Pointer(&once)), 0, 0, 0)
	if errno == 0 {
		var expirations [8]byte
		_, _ = a.timer.Read(expirations[:])
	}
}

func (a *alarm) close() {
	if a.timer != nil {
		_ = a.timer.Close()
	}
}
