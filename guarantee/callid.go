package guarantee

import "fmt"

// CallID names one call across all its attempts. It is either a calling
// session with that session's running number, or a key of the caller's own
// choice. A key is scoped by actor and method; the zero CallID names nothing.
type CallID struct {
	// Session is the caller's session.
	Session string
	// Sequence counts the calls of Session, over all targets, from 1.
	Sequence uint64
	// Key is the caller's own idempotency key. When set, the call keeps its
	// identity across sessions.
	Key string
}

// IsZero reports whether the call has no identity.
func (c CallID) IsZero() bool { return c == CallID{} }

// String returns a form for logs.
func (c CallID) String() string {
	switch {
	case c.Key != "":
		return fmt.Sprintf("key:%q", c.Key)
	case c.Session != "":
		return fmt.Sprintf("%s#%d", c.Session, c.Sequence)
	}
	return ""
}
