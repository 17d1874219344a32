package member

import "time"

// A Clock measures how long ago a lease was renewed. SystemClock is the one to
// use; tests make clocks that stop and jump. Its methods are safe for
// concurrent use.
type Clock interface {
	// Read returns both readings of one look at the clock. It is called on the
	// way of every call, so it must be cheap.
	Read() Reading
	// Boot is the time since some fixed point, the machine's sleep included and
	// steps of the wall clock excluded. It is asked when the two readings
	// disagree, and may cost a system call.
	Boot() time.Duration
}

// Reading is one look at a clock. Each reading counts from a fixed point of
// its own; only differences mean anything.
type Reading struct {
	// Mono never steps, but stands still while the machine sleeps.
	Mono time.Duration
	// Wall goes on while the machine sleeps, but steps when it is set.
	Wall time.Duration
}

// SystemClock returns this machine's clock, counting from now. Inside a
// testing/synctest bubble it is that bubble's clock.
func SystemClock() Clock { return systemClock{start: time.Now()} }

type systemClock struct{ start time.Time }

func (c systemClock) Read() Reading {
	now := time.Now() // one call yields both readings
	return Reading{Mono: now.Sub(c.start), Wall: time.Duration(now.UnixNano())}
}

func (c systemClock) Boot() time.Duration { return bootTime() }

// tolerance is how far the two readings may drift apart between renewals
// before Boot is asked: above what a slewed wall clock gains in a TTL (500
// parts per million), far below any sleep that matters.
const tolerance = 10 * time.Millisecond

// grant is the trust that one acknowledged renewal brings.
type grant struct {
	sent  Reading
	boot  time.Duration
	allow time.Duration
}

// newGrant starts a grant at this moment: call it before sending the renewal.
// Boot is read first, so that a sleep between the two reads makes the grant
// look older and never younger.
func newGrant(c Clock, allow time.Duration) grant {
	boot := c.Boot()
	return grant{sent: c.Read(), boot: boot, allow: allow}
}

// left is how much of the grant remains; it has ended at 0 and below.
//
// Within the tolerance the readings agree and the later one counts. Else the
// machine slept or somebody set the wall clock, and Boot tells which.
func (g *grant) left(c Clock) time.Duration {
	now := c.Read()
	mono, wall := now.Mono-g.sent.Mono, now.Wall-g.sent.Wall
	elapsed := max(mono, wall)
	if apart := wall - mono; apart > tolerance || apart < -tolerance {
		elapsed = max(mono, c.Boot()-g.boot)
	}
	return g.allow - elapsed
}
