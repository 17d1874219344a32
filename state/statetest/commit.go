package statetest

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/cajun-go/cajun/state"
)

func testCommitNeedsSeal(e *env) {
	a := actor(1, "k")
	e.wantFenced(e.commit(state.Commit{Actor: a, Fence: fence(1, "a")}), a.Shard, state.Fence{})
	e.wantFenced(e.commit(state.Commit{Actor: a}), a.Shard, state.Fence{})
	f := e.mustSeal(a.Shard, fence(1, "a"))
	e.wantFenced(e.commit(state.Commit{Actor: a}), a.Shard, f)
	e.wantStored(a, f, state.Snapshot{})
}

func testCommitFence(e *env) {
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(5, "m"))
	for _, wrong := range []state.Fence{
		fence(4, "m"), fence(6, "m"), fence(5, "a"), fence(5, "z"),
		fence(5, "mm"), fence(5, ""), fence(5+1<<32, "m"), {},
	} {
		e.wantFenced(e.commit(state.Commit{Actor: a, Fence: wrong, Record: []byte("x")}), a.Shard, f)
	}
	e.wantStored(a, f, state.Snapshot{})
	e.mustCommit(state.Commit{Actor: a, Fence: f, Record: []byte("r")})
	e.wantStored(a, f, state.Snapshot{Version: 1, Record: []byte("r")})
}

func testCommitVersion(e *env) {
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(1, "a"))
	for v := range uint64(5) {
		for _, wrong := range []uint64{v - 1, v + 1, v + 2, math.MaxInt64, v + 1<<32, math.MaxUint64 - 7} {
			e.wantConflict(e.commit(state.Commit{Actor: a, Fence: f, Version: wrong, Record: []byte("x"), Put: rows("x", "x")}), a, wrong)
		}
		record := []byte{byte(v)}
		e.mustCommit(state.Commit{Actor: a, Fence: f, Version: v, Record: record})
		e.wantStored(a, f, state.Snapshot{Version: v + 1, Record: record})
	}
}

func testCommitRows(e *env) {
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(1, "a"))
	steps := []struct {
		record string
		put    []state.Row
		del    []string
		want   []state.Row
	}{
		{"one", rows("b", "1", "a", "2"), nil, rows("a", "2", "b", "1")},
		{"two", rows("c", "3", "a", "4"), []string{"b"}, rows("a", "4", "c", "3")},
		{"three", nil, []string{"never there"}, rows("a", "4", "c", "3")},
		{"three", nil, nil, rows("a", "4", "c", "3")},
		{"", rows("b", "5"), []string{"a", "c"}, rows("b", "5")},
		{"six", nil, []string{"b"}, nil},
		{"seven", rows("b", "again"), nil, rows("b", "again")},
	}
	for i, step := range steps {
		e.mustCommit(state.Commit{
			Actor: a, Fence: f, Version: uint64(i),
			Record: []byte(step.record), Put: step.put, Delete: step.del,
		})
		e.wantStored(a, f, state.Snapshot{Version: uint64(i + 1), Record: []byte(step.record), Rows: step.want})
	}
}

func testCommitEmptyValues(e *env) {
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(1, "a"))
	e.mustCommit(state.Commit{Actor: a, Fence: f, Put: []state.Row{{Name: "nil"}, {Name: "none", Value: []byte{}}}})
	e.wantStored(a, f, state.Snapshot{Version: 1, Rows: rows("nil", "", "none", "")})
	// An empty record counts as written.
	e.wantConflict(e.commit(state.Commit{Actor: a, Fence: f}), a, 0)
	e.mustCommit(state.Commit{Actor: a, Fence: f, Version: 1, Record: []byte("r"), Put: rows("nil", "full")})
	e.mustCommit(state.Commit{Actor: a, Fence: f, Version: 2, Record: []byte{}, Put: rows("nil", "")})
	e.wantStored(a, f, state.Snapshot{Version: 3, Rows: rows("nil", "", "none", "")})
}

func testCommitNothing(e *env) {
	if err := e.commit(); err != nil {
		e.Fatalf("a commit of nothing: %v", err)
	}
}

// testCommitAtomic spoils one commit among many, each in turn and in each way,
// and then applies all of them.
func testCommitAtomic(e *env) {
	fences := map[uint32]state.Fence{}
	for n := range uint32(3) {
		fences[n] = e.mustSeal(shard(n), fence(uint64(n+3), "s"))
	}
	var good []state.Commit
	for i := range 9 {
		n := uint32(i % 3)
		a := actor(n, fmt.Sprintf("k%d", i))
		e.mustCommit(state.Commit{Actor: a, Fence: fences[n], Record: []byte("old"), Put: rows("gone", "1", "kept", "1")})
		good = append(good, state.Commit{
			Actor: a, Fence: fences[n], Version: 1, Record: []byte("new"),
			Put: rows("kept", "2", "more", "2"), Delete: []string{"gone"},
		})
	}
	check := func(want state.Snapshot) {
		e.Helper()
		for _, c := range good {
			e.wantStored(c.Actor, c.Fence, want)
		}
	}
	for i := range good {
		spoilt := append([]state.Commit(nil), good...)
		spoilt[i].Version = 2
		e.wantConflict(e.commit(spoilt...), good[i].Actor, 2)
		spoilt[i].Version = 1
		spoilt[i].Fence.Epoch--
		e.wantFenced(e.commit(spoilt...), good[i].Actor.Shard, good[i].Fence)
	}
	check(state.Snapshot{Version: 1, Record: []byte("old"), Rows: rows("gone", "1", "kept", "1")})
	e.mustCommit(good...)
	check(state.Snapshot{Version: 2, Record: []byte("new"), Rows: rows("kept", "2", "more", "2")})
}

func testCommitFirstRefused(e *env) {
	f1, f2 := e.mustSeal(shard(1), fence(1, "a")), e.mustSeal(shard(2), fence(2, "b"))
	ok := state.Commit{Actor: actor(1, "ok"), Fence: f1}
	conflict := state.Commit{Actor: actor(1, "conflict"), Fence: f1, Version: 8}
	conflict2 := state.Commit{Actor: actor(2, "conflict"), Fence: f2, Version: 9}
	fenced := state.Commit{Actor: actor(2, "fenced"), Fence: fence(1, "a")}
	both := state.Commit{Actor: actor(2, "both"), Fence: fence(1, "a"), Version: 7}

	e.wantConflict(e.commit(ok, conflict, fenced, conflict2), conflict.Actor, 8)
	e.wantFenced(e.commit(ok, fenced, conflict, conflict2), shard(2), f2)
	e.wantConflict(e.commit(conflict2, conflict, fenced), conflict2.Actor, 9)
	// The fence decides first: a former owner learns that it is one.
	e.wantFenced(e.commit(both, ok), shard(2), f2)
	e.wantStored(ok.Actor, f1, state.Snapshot{})
}

func testCommitTwoFences(e *env) {
	f := e.mustSeal(shard(1), fence(2, "b"))
	right := state.Commit{Actor: actor(1, "right"), Fence: f}
	wrong := state.Commit{Actor: actor(1, "wrong"), Fence: fence(1, "a")}
	e.wantFenced(e.commit(right, wrong), shard(1), f)
	e.wantFenced(e.commit(wrong, right), shard(1), f)
	e.wantStored(right.Actor, f, state.Snapshot{})
}

func testCommitSurvivesOwner(e *env) {
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(1, "a"))
	e.mustCommit(state.Commit{Actor: a, Fence: f, Record: []byte("r1"), Put: rows("x", "1")})
	g := e.mustSeal(a.Shard, fence(2, "b"))
	e.wantStored(a, g, state.Snapshot{Version: 1, Record: []byte("r1"), Rows: rows("x", "1")})
	e.wantFenced(e.commit(state.Commit{Actor: a, Fence: f, Version: 1}), a.Shard, g)
	e.mustCommit(state.Commit{Actor: a, Fence: g, Version: 1, Record: []byte("r2")})
	e.wantStored(a, g, state.Snapshot{Version: 2, Record: []byte("r2"), Rows: rows("x", "1")})
}

// testCommitCopies changes bytes that the store was given and has given.
func testCommitCopies(e *env) {
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(1, "a"))
	record, value, agenda := []byte("record"), []byte("value"), due(1, 2)
	want := state.Snapshot{Version: 1, Record: []byte("record"), Rows: rows("x", "value")}
	e.mustCommit(state.Commit{Actor: a, Fence: f, Record: record, Put: []state.Row{{Name: "x", Value: value}}, Agenda: agenda})
	record[0], value[0], agenda.Due = '!', '!', 3
	e.wantStored(a, f, want)
	e.wantAgendas(a.Shard, entry("k", 1, 2))
	e.agendas(a.Shard, 2)[0].Agenda.Due = 3
	e.wantAgendas(a.Shard, entry("k", 1, 2))
	snap := e.mustLoad(a, f)
	snap.Record[0], snap.Rows[0].Value[0], snap.Rows[0].Name = '!', '!', "y"
	e.wantStored(a, f, want)
}

func testCommitInvalid(e *env) {
	f := e.mustSeal(shard(1), fence(1, "a"))
	a := actor(1, "k")
	long := strings.Repeat("n", state.MaxNameBytes+1)
	for name, commits := range map[string][]state.Commit{
		"no key":              {{Actor: actor(1, ""), Fence: f}},
		"long key":            {{Actor: actor(1, strings.Repeat("k", state.MaxKeyBytes+1)), Fence: f}},
		"key that is no text": {{Actor: actor(1, "\xff"), Fence: f}},
		"no kind":             {{Actor: state.Actor{Key: "k"}, Fence: f}},
		"actor twice":         {{Actor: a, Fence: f}, {Actor: a, Fence: f, Version: 1}},
		"put of no name":      {{Actor: a, Fence: f, Put: rows("", "v")}},
		"delete of no name":   {{Actor: a, Fence: f, Delete: []string{""}}},
		"put of long name":    {{Actor: a, Fence: f, Put: rows(long, "v")}},
		"delete of long name": {{Actor: a, Fence: f, Delete: []string{long}}},
		"put twice":           {{Actor: a, Fence: f, Put: rows("x", "1", "x", "2")}},
		"delete twice":        {{Actor: a, Fence: f, Delete: []string{"x", "x"}}},
		"put and delete":      {{Actor: a, Fence: f, Put: rows("x", "1"), Delete: []string{"x"}}},
	} {
		good := state.Commit{Actor: actor(1, "good"), Fence: f}
		if err := e.commit(append([]state.Commit{good}, commits...)...); !errors.Is(err, state.ErrInvalid) {
			e.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
		e.wantStored(good.Actor, f, state.Snapshot{})
	}
	e.wantStored(a, f, state.Snapshot{})
}
