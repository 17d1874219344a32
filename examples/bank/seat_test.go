package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

// take takes a seat for a child of this test.
func take(t *testing.T, behaviour string, tell func(string)) *seat {
	t.Helper()
	s, err := takeSeat(t.Context(), "test", tell, asChild, behaviour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.abandon)
	return s
}

func ready(t *testing.T, s *seat) string {
	t.Helper()
	name, err := s.awaitReady(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTheKilledHaveSuccessors(t *testing.T) {
	lines := make(chan string, 100)
	s := take(t, "good", func(line string) { lines <- line })
	names := make(map[string]bool)
	for range 3 {
		name := ready(t, s)
		if !strings.HasPrefix(name, "I am ") || names[name] {
			t.Fatalf("%q is no new child", name)
		}
		names[name] = true
		if line := <-lines; line != "and more" {
			t.Errorf("the child said %q", line)
		}
		before := s.process()
		if done, err := s.kill(); !done || err != nil {
			t.Fatalf("killed: %t, %v", done, err)
		}
		for deadline := time.Now().Add(readyPatience); s.process() == before; {
			if time.Now().After(deadline) {
				t.Fatal("nobody has taken the seat of the child that was killed")
			}
			wait(t.Context(), time.Millisecond)
		}
	}
	ready(t, s)
	if err := s.finish(t.Context()); err != nil || s.unaskedEnds() != 0 {
		t.Errorf("it did not finish well: %v; %d ended unasked", err, s.unaskedEnds())
	}
	if done, err := s.kill(); done || err != nil {
		t.Errorf("nobody was killed: %t, %v", done, err)
	}
}

// Who ends by itself has a successor, too, but not for ever.
func TestFalseStartsEnd(t *testing.T) {
	s := take(t, "unready", nil)
	if _, err := s.awaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "does not come up again") {
		t.Errorf("the error is %v", err)
	}
	if err := s.finish(t.Context()); err == nil {
		t.Error("it finished well")
	}
	if got := s.unaskedEnds(); got != mostFalseStarts+1 {
		t.Errorf("%d ended unasked", got)
	}
}

// A crash is told apart from an end in good order.
func TestCrashesAreCounted(t *testing.T) {
	for behaviour, want := range map[string]int{"crashing": mostFalseStarts + 1, "unready": 0} {
		s := take(t, behaviour, nil)
		_, _ = s.awaitReady(t.Context())
		if got := s.crashes(); got != want {
			t.Errorf("%s: %d crashes, want %d", behaviour, got, want)
		}
	}
}

// A child that is never ready, and does not end, is waited for only so long.
func TestAwaitReadyIsBounded(t *testing.T) {
	s := take(t, "silent", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.awaitReady(ctx); err == nil {
		t.Error("it was ready")
	}
}

// Nobody who is abandoned has a successor.
func TestAbandonedSeatsStayEmpty(t *testing.T) {
	s := take(t, "good", nil)
	ready(t, s)
	p := s.process()
	s.abandon()
	select {
	case <-p.Ended():
	default:
		t.Error("the child lives on")
	}
	if s.process() != p {
		t.Error("it has a successor")
	}
}
