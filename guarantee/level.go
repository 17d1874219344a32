// Package guarantee holds the delivery promises of the framework as pure
// values and functions: levels, call IDs, outcomes, retry pauses, and the
// window that recognises repeated calls. Nothing here starts a goroutine,
// reads a clock or touches a network, so every rule can be tested by itself.
package guarantee

import "fmt"

// Level is how far a call survives failures.
type Level uint8

// The levels, weakest first, so that they can be compared with < and max.
const (
	// Unspecified leaves the choice to the next wider place: context, method,
	// service, node.
	Unspecified Level = iota
	// AtMostOnce runs the handler zero times or once.
	AtMostOnce
	// AtLeastOnce retries until the call is acknowledged or its deadline passes.
	AtLeastOnce
	// ExactlyOnce commits state, reply and call ID together, so that repeats of
	// a call take effect once, whichever side crashes.
	ExactlyOnce
)

// String returns the level's name as the proto options spell it.
func (l Level) String() string {
	switch l {
	case Unspecified:
		return "UNSPECIFIED"
	case AtMostOnce:
		return "AT_MOST_ONCE"
	case AtLeastOnce:
		return "AT_LEAST_ONCE"
	case ExactlyOnce:
		return "EXACTLY_ONCE"
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// Valid reports whether l is one of the declared levels, Unspecified included.
func (l Level) Valid() bool { return l <= ExactlyOnce }

// Resolve picks the level of one call. The first of the declared levels
// (method, service, node, in this order) that says something decides, and
// AtMostOnce does when none of them does. The call's own wish, asked, may
// raise that level and never lowers it.
func Resolve(asked Level, declared ...Level) Level {
	level := AtMostOnce
	for _, d := range declared {
		if d != Unspecified {
			level = d
			break
		}
	}
	return max(level, asked)
}
