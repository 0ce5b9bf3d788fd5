package main

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// shell makes the command that runs text, and is killed with its children when
// ctx ends.
func shell(ctx context.Context, text string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "cmd")
	ownGroup(cmd)
	cmd.SysProcAttr.CmdLine = "cmd /c " + text // as it is: cmd has quoting rules of its own
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	return cmd
}

// ownGroup keeps a console's interrupt from the command: its parent ends it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// killGroup kills a process and its children.
func killGroup(p *os.Process) error {
	if exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(p.Pid)).Run() == nil {
		return nil
	}
	return p.Kill()
}

// freeze does nothing: Windows has no way to stop a process.
func freeze(*os.Process) error { return nil }
