package process

import "syscall"

// bound makes a child die with its parent even when it is stopped and cannot
// notice that its standard input has ended.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
