//go:build linux || darwin

package link

import (
	"sync"
	"syscall"
	"unsafe"
)

// maxVecs is below what the kernel takes in one call.
const maxVecs = 1000

type vecs struct{ list []syscall.Iovec }

var vecLists = sync.Pool{New: func() any { return new(vecs) }}

// WriteFD writes what the non-blocking descriptor takes at once. n below the
// total means that it is full. The caller makes sure that fd stays open.
func WriteFD(fd int, bufs [][]byte) (n int, err error) {
	for {
		if len(bufs) == 1 {
			n, err = syscall.Write(fd, bufs[0])
		} else {
			n, err = writev(fd, bufs[:min(len(bufs), maxVecs)])
		}
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN, syscall.ENOBUFS:
			return 0, nil
		default:
			return 0, err
		}
	}
}

func writev(fd int, bufs [][]byte) (int, error) {
	v := vecLists.Get().(*vecs)
	for _, p := range bufs {
		if len(p) == 0 {
			continue
		}
		iov := syscall.Iovec{Base: &p[0]}
		iov.SetLen(len(p))
		v.list = append(v.list, iov)
	}
	var n uintptr
	var errno syscall.Errno
	if len(v.list) > 0 {
		n, _, errno = syscall.Syscall(syscall.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&v.list[0])), uintptr(len(v.list)))
	}
	clear(v.list)
	v.list = v.list[:0]
	vecLists.Put(v)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// ReadFD reads what is there; EAGAIN says that nothing is.
func ReadFD(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
