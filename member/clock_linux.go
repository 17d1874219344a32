package member

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime counts from the machine's start, its sleep included.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Only a sandbox refuses this clock. The wall clock errs to the safe
		// side, except when it is set back during a sleep.
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(ts.Nano())
}
