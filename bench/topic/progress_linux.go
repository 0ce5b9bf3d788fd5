package topic

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openProgress maps the file, which it makes when it is not there. The caller
// calls free.
func openProgress(path string, subscribers int) (*progress, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := subscribers * int(unsafe.Sizeof(slot{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	slots := unsafe.Slice((*slot)(unsafe.Pointer(unsafe.SliceData(b))), subscribers)
	return &progress{slots: slots, free: func() { _ = syscall.Munmap(b) }}, nil
}

// pause sleeps on its thread: Go's timers round up to a millisecond when nothing
// else is going on.
func pause(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // cut short by a signal, it is only shorter
}
