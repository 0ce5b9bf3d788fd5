//go:build linux || darwin

package jetstream

import "syscall"

// freeSpace returns how many bytes this process can still write on the disk of a directory.
func freeSpace(dir string) (bytes int64, known bool) {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return 0, false
	}
	return int64(s.Bavail * uint64(s.Bsize)), true
}
