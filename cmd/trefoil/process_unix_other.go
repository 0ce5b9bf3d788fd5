//go:build unix && !linux

package main

import "syscall"

// dieWithParent does nothing here: the processes that must end with their parent
// read its pipe to the end.
func dieWithParent(*syscall.SysProcAttr) {}
