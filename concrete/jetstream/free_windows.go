package jetstream

import (
	"syscall"
	"unsafe"
)

// freeSpace returns how many bytes this process can still write on the disk of a directory.
func freeSpace(dir string) (bytes int64, known bool) {
	name, err := syscall.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false
	}
	free := syscall.NewLazyDLL("kernel32.dll").NewProc("GetDiskFreeSpaceExW")
	ok, _, _ := free.Call(uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&bytes)), 0, 0)
	return bytes, ok != 0
}
