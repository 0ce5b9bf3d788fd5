//go:build unix

package main

import (
	"os"
	"syscall"
)

// keepOwner gives a file the owner of another one, if that is there.
func keepOwner(of, file string) error {
	info, err := os.Stat(of)
	if err != nil {
		return nil //nolint:nilerr // it is new
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && (int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid()) {
		return os.Chown(file, int(st.Uid), int(st.Gid))
	}
	return nil
}
