package journal_test

import (
	"testing"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/journal"
)

// TestTimersSetAgain: what replaced timers leave behind does not grow with how
// often they are set.
func TestTimersSetAgain(t *testing.T) {
	b := newBook(t)
	a := b.load("a", mine)
	set := func(name string, due int64) {
		t.Helper()
		if err := a.Commit(t.Context(), journal.Turn{State: []byte("x"), Changes: []journal.Change{journal.PutTimer(name, &statev1.TimerRow{DueNanos: due})}}); err != nil {
			t.Fatal(err)
		}
	}
	set("first", 1) // it stays at the top
	for i := range int64(1000) {
		set("timeout", 1_000_000+i)
	}
	if n := a.Ticks(); n > 50 {
		t.Errorf("%d times are kept of two timers", n)
	}
	if name, _, _ := a.Timer(2); name != "first" {
		t.Errorf("the timer that is due is %q", name)
	}
	if err := a.Commit(t.Context(), journal.Turn{State: []byte("x"), Changes: []journal.Change{journal.RemoveTimer("first")}}); err != nil {
		t.Fatal(err)
	}
	if _, _, wait := a.Timer(2); wait != 1_000_999 {
		t.Errorf("the other timer is due at %d", wait)
	}
}
