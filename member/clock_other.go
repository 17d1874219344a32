//go:build !linux

package member

import "time"

// bootTime is the wall clock: it goes on during sleep. When it is set
// forwards, the session is suspended until its next renewal, which is the safe
// side to err on.
func bootTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
