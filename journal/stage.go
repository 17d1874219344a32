package journal

import (
	"slices"

	"google.golang.org/protobuf/proto"
)

// stage is what the next Flush writes: the latest state, and the rows of the
// callers and keys with new replies.
type stage struct {
	turns, bytes  int
	state         []byte
	callers, keys []string
	calls         []call
	// changes are those of items by the names of their rows, the latest of each.
	changes map[string]proto.Message
	// swept is how many obsolete rows the commit deletes.
	swept int
	// limit bounds the commit in bytes.
	limit int
}

// rows counts the rows, with one for the agenda.
func (s *stage) rows() int { return len(s.callers) + len(s.keys) + len(s.changes) + 1 }

// adds reports whether a turn brings a row that the turns before it did not.
func (s *stage) adds(t Turn) bool {
	if t.Call.Key != "" {
		return !slices.Contains(s.keys, keyName(t.Method, t.Call.Key))
	}
	return !slices.Contains(s.callers, t.Call.Session)
}

func (s *stage) caller(session string) {
	if !slices.Contains(s.callers, session) {
		s.callers = append(s.callers, session)
	}
}

func (s *stage) key(name string) {
	if !slices.Contains(s.keys, name) {
		s.keys = append(s.keys, name)
	}
}

func (s *stage) change(c Change) {
	if s.changes == nil {
		s.changes = make(map[string]proto.Message)
	}
	s.changes[c.name] = c.row
}

// call is a call of a session, or all calls of a turn.
type call struct {
	session  string
	sequence uint64
}
