package main

import "syscall"

// dieWithParent has the kernel kill the process when its parent is gone.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
