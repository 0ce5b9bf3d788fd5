//go:build unix

package topic

import "syscall"

// halt stops a process, which knows nothing of it, until goOn.
func halt(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }

func goOn(pid int) error { return syscall.Kill(pid, syscall.SIGCONT) }
