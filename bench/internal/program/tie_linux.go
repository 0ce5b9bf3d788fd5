package program

import (
	"os/exec"
	"syscall"
)

// tieToUs lets the kernel end the program with us, and keeps the terminal's
// Ctrl-C from it: it ends when we tell it to.
func tieToUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
