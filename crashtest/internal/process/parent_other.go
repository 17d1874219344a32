//go:build unix && !linux

package process

import "syscall"

// bound is left to standard input, which ends with the parent.
func bound() *syscall.SysProcAttr { return nil }
