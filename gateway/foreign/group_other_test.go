//go:build !unix

package foreign

import "os/exec"

// group keeps a program together with what it starts, where that can be done.
func group(*exec.Cmd) {}

// killGroup kills a program that was started.
func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
