package pgstate

import (
	"testing"

	"github.com/cajun-go/cajun/state"
)

// withAgenda is aCommit with an agenda.
func withAgenda(f state.Fence, version uint64, record string, due int64) state.Commit {
	c := aCommit(f, version, record)
	c.Agenda = &state.Agenda{Due: due}
	return c
}

func agendaDue(due int64) state.Entry {
	return state.Entry{Key: "a", Agenda: state.Agenda{Due: due}}
}

// TestAgendaFailsWithCommit: a commit that ends while it writes its agenda, when
// the record and the row are written already, leaves neither.
func TestAgendaFailsWithCommit(t *testing.T) {
	s, a := open(t, newSchema(t)), admin(t)
	mustSeal(t, s, older)
	mustCommit(t, s, withAgenda(older, 0, "first", 1))
	for name, agenda := range map[string]int64{"written": 2, "removed": 0} {
		h := holdAgenda(t, s, deadline(t), withAgenda(older, 1, "second", agenda))
		if n := a.number("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock'", s.schema); n != 1 {
			t.Errorf("%s: %d backends were terminated", name, n)
		}
		wantUnknown(t, <-h.done)
		h.release()
		wantRecord(t, s, older, 1, "first")
		wantAgendas(t, s, agendaDue(1))
	}
}

// TestSealWaitsForAgenda: what the old owner was about to write to an agenda is
// there when Seal returns.
func TestSealWaitsForAgenda(t *testing.T) {
	s, watch := open(t, newSchema(t)), admin(t)
	mustSeal(t, s, older)
	mustCommit(t, s, withAgenda(older, 0, "first", 1))
	h := holdAgenda(t, s, deadline(t), withAgenda(older, 1, "second", 2))
	sealed := make(chan error, 1)
	go func() { sealed <- seal(s, deadline(t), newer) }()
	until(t, "the seal waits", func() bool { return watch.waiting(s.schema) == 2 })
	wantAgendas(t, s, agendaDue(1))
	h.release()
	if err := <-sealed; err != nil {
		t.Fatal(err)
	}
	wantAgendas(t, s, agendaDue(2))
	wantRecord(t, s, newer, 2, "second")
	if err := <-h.done; err != nil {
		t.Error(err)
	}
}
