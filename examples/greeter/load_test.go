package main

import "testing"

// A run must not meet the actors of an earlier one: the audit would count what
// they remember as its own.
func TestRunsHaveActorsOfTheirOwn(t *testing.T) {
	s := settings{actors: 3}
	one, another := newLoad(s, nil), newLoad(s, nil)
	seen := make(map[string]bool)
	for i := range s.actors {
		seen[one.key(i)], seen[another.key(i)] = true, true
	}
	if len(seen) != 2*s.actors {
		t.Errorf("two runs of %d actors have %d keys together", s.actors, len(seen))
	}
}
