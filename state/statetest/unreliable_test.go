package statetest_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
	"github.com/cajun-go/cajun/state/statetest"
)

var (
	shard  = state.Shard{Kind: "k", Number: 1}
	actor  = state.Actor{Shard: shard, Key: "a"}
	first  = state.Fence{Epoch: 1, Session: "a"}
	second = state.Fence{Epoch: 2, Session: "b"}
)

// newStore returns an unreliable store whose shard is sealed by first.
func newStore(t *testing.T, plan statetest.Plan) *statetest.Unreliable {
	t.Helper()
	u := statetest.NewUnreliable(memstate.New(), nil)
	if err := seal(t, u, first); err != nil {
		t.Fatal(err)
	}
	u.SetPlan(plan)
	return u
}

func seal(t *testing.T, u *statetest.Unreliable, f state.Fence) error {
	return u.Seal(t.Context(), []state.Seal{{Shard: shard, Fence: f}})[0]
}

func commit(t *testing.T, u *statetest.Unreliable, version uint64, record string) error {
	return u.Commit(t.Context(), []state.Commit{{Actor: actor, Fence: first, Version: version, Record: []byte(record)}})
}

func wantRecord(t *testing.T, u *statetest.Unreliable, f state.Fence, version uint64, record string) {
	t.Helper()
	snap, err := u.Load(t.Context(), actor, f)
	if err != nil {
		t.Fatal(err)
	}
	if snap.Version != version || string(snap.Record) != record {
		t.Fatalf("got version %d, record %q, want %d, %q", snap.Version, snap.Record, version, record)
	}
}

func wantAgendas(t *testing.T, u *statetest.Unreliable, want ...state.Entry) {
	t.Helper()
	if got, err := u.Agenda(t.Context(), shard, "", 10); err != nil || !slices.Equal(got, want) {
		t.Fatalf("got agendas %v, %v, want %v", got, err, want)
	}
}

func wantUnknown(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, statetest.ErrUnknown) {
		t.Fatalf("got %v, want ErrUnknown", err)
	}
}

// TestUnreliableConforms: with nothing planned it is an ordinary store.
func TestUnreliableConforms(t *testing.T) {
	statetest.Run(t, func(testing.TB) state.Store { return statetest.NewUnreliable(memstate.New(), nil) })
}

func TestUnreliableFates(t *testing.T) {
	u := newStore(t, statetest.Script(statetest.Lose, statetest.Hide, statetest.Hide, statetest.Deliver))
	wantUnknown(t, commit(t, u, 0, "lost"))
	wantRecord(t, u, first, 0, "")
	wantUnknown(t, commit(t, u, 0, "hidden"))
	wantRecord(t, u, first, 1, "hidden")
	wantUnknown(t, commit(t, u, 0, "refused, which is hidden too"))
	wantRecord(t, u, first, 1, "hidden")
	for version := uint64(1); version < 4; version++ { // longer than the script
		if err := commit(t, u, version, "delivered"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnreliableLateCommit(t *testing.T) {
	t.Run("Flush", func(t *testing.T) {
		u := newStore(t, statetest.CommitScript(statetest.Late))
		record, agenda := []byte("late"), &state.Agenda{Due: 1, Dead: 2}
		ctx, cancel := context.WithCancel(t.Context())
		wantUnknown(t, u.Commit(ctx, []state.Commit{{Actor: actor, Fence: first, Record: record, Agenda: agenda}}))
		cancel()
		record[0], agenda.Due = '!', 3
		wantRecord(t, u, first, 0, "")
		wantAgendas(t, u)
		if n := u.Pending(); n != 1 {
			t.Fatalf("%d writes pending", n)
		}
		if errs := u.Flush(); len(errs) != 1 || errs[0] != nil {
			t.Fatalf("Flush: %v", errs)
		}
		wantRecord(t, u, first, 1, "late")
		wantAgendas(t, u, state.Entry{Key: actor.Key, Agenda: state.Agenda{Due: 1, Dead: 2}})
		if n := u.Pending(); n != 0 || len(u.Flush()) != 0 {
			t.Fatalf("%d writes pending after Flush", n)
		}
	})
	t.Run("AfterNextWrite", func(t *testing.T) {
		u := newStore(t, statetest.CommitScript(statetest.Late))
		wantUnknown(t, commit(t, u, 1, "late"))
		if err := commit(t, u, 0, "next"); err != nil {
			t.Fatal(err)
		}
		wantRecord(t, u, first, 2, "late")
	})
	t.Run("AfterSeal", func(t *testing.T) {
		u := newStore(t, statetest.CommitScript(statetest.Late))
		wantUnknown(t, commit(t, u, 0, "late"))
		if err := seal(t, u, second); err != nil {
			t.Fatal(err)
		}
		if n := u.Pending(); n != 0 {
			t.Fatalf("%d writes pending", n)
		}
		wantRecord(t, u, second, 0, "")
	})
}

func TestUnreliableSeal(t *testing.T) {
	u := newStore(t, statetest.Script(statetest.Lose, statetest.Hide))
	wantUnknown(t, seal(t, u, second))
	if err := commit(t, u, 0, "r"); !errors.Is(err, statetest.ErrUnknown) { // hidden
		t.Fatal(err)
	}
	wantRecord(t, u, first, 1, "r")

	u.SetPlan(statetest.Script(statetest.Hide))
	wantUnknown(t, seal(t, u, second))
	wantRecord(t, u, second, 1, "r")

	third := state.Fence{Epoch: 3, Session: "c"}
	u.SetPlan(statetest.Script(statetest.Late))
	wantUnknown(t, seal(t, u, third))
	wantRecord(t, u, second, 1, "r")
	u.Flush()
	wantRecord(t, u, third, 1, "r")
}

func TestRandomPlan(t *testing.T) {
	fates := func(seed uint64, rate float64) (all []statetest.Fate, count [4]int) {
		plan := statetest.Random(seed, rate)
		for range 1000 {
			f := plan(statetest.Write{})
			all = append(all, f)
			count[f]++
		}
		return all, count
	}
	one, count := fates(1, 0.3)
	for f, n := range count {
		if n < 50 {
			t.Errorf("fate %d came %d times in 1000", f, n)
		}
	}
	if same, _ := fates(1, 0.3); !slices.Equal(one, same) {
		t.Error("the same seed gave other fates")
	}
	if other, _ := fates(2, 0.3); slices.Equal(one, other) {
		t.Error("another seed gave the same fates")
	}
	if _, never := fates(1, 0); never[statetest.Deliver] != 1000 {
		t.Errorf("rate 0: %v", never)
	}
	if _, always := fates(1, 1); always[statetest.Deliver] != 0 {
		t.Errorf("rate 1: %v", always)
	}
}
