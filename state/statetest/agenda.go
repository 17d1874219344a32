package statetest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/cajun-go/cajun/state"
)

// due is an agenda to write.
func due(at int64, dead uint32) *state.Agenda { return &state.Agenda{Due: at, Dead: dead} }

func entry(key string, at int64, dead uint32) state.Entry {
	return state.Entry{Key: key, Agenda: *due(at, dead)}
}

// agendas reads a shard's agendas in pages of limit, which must go on in order.
func (e *env) agendas(s state.Shard, limit int) []state.Entry {
	e.Helper()
	var all []state.Entry
	for after := ""; ; {
		page, err := e.store.Agenda(e.ctx, s, after, limit)
		if err != nil {
			e.Fatalf("Agenda(%v, %.80q, %d): %v", s, after, limit, err)
		}
		if len(page) > limit {
			e.Fatalf("Agenda(%v, %.80q, %d) has %d entries", s, after, limit, len(page))
		}
		for _, next := range page {
			if next.Key <= after {
				e.Fatalf("Agenda(%v, _, %d): %.80q comes after %.80q", s, limit, next.Key, after)
			}
			after = next.Key
		}
		all = append(all, page...)
		if len(page) < limit {
			return all
		}
	}
}

// wantAgendas checks all agendas of a shard.
func (e *env) wantAgendas(s state.Shard, want ...state.Entry) {
	e.Helper()
	if diff := diffEntries(e.agendas(s, len(want)+1), want); diff != "" {
		e.Fatalf("agendas of %v: %s", s, diff)
	}
}

// diffEntries describes the first difference, or returns "".
func diffEntries(got, want []state.Entry) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("entry %d is %.80q: %+v, want %.80q: %+v", i, got[i].Key, got[i].Agenda, want[i].Key, want[i].Agenda)
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d entries, want %d", len(got), len(want))
	}
	return ""
}

func testAgendaChanges(e *env) {
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(1, "a"))
	e.wantAgendas(a.Shard)
	for i, step := range []struct {
		write *state.Agenda
		want  []state.Entry
	}{
		{nil, nil},
		{due(0, 0), nil},
		{due(5, 7), []state.Entry{entry("k", 5, 7)}},
		{nil, []state.Entry{entry("k", 5, 7)}},
		{due(6, 0), []state.Entry{entry("k", 6, 0)}},
		{due(0, 1), []state.Entry{entry("k", 0, 1)}},
		{due(math.MaxInt64, math.MaxUint32), []state.Entry{entry("k", math.MaxInt64, math.MaxUint32)}},
		{due(0, 0), nil},
		{due(0, 0), nil},
		{nil, nil},
		{due(8, 9), []state.Entry{entry("k", 8, 9)}},
	} {
		e.mustCommit(state.Commit{Actor: a, Fence: f, Version: uint64(i), Record: []byte("r"), Agenda: step.write})
		e.wantAgendas(a.Shard, step.want...)
		// The agenda is nothing that a Load shows.
		e.wantStored(a, f, state.Snapshot{Version: uint64(i + 1), Record: []byte("r")})
	}
	// It goes along with rows of the same commit, and with other actors.
	e.mustCommit(
		state.Commit{Actor: a, Fence: f, Version: 11, Put: rows("x", "1"), Agenda: due(1, 2)},
		state.Commit{Actor: actor(1, "kk"), Fence: f, Delete: []string{"x"}, Agenda: due(3, 4)},
		state.Commit{Actor: actor(1, "j"), Fence: f, Agenda: due(0, 0)},
	)
	e.wantStored(a, f, state.Snapshot{Version: 12, Rows: rows("x", "1")})
	e.wantAgendas(a.Shard, entry("k", 1, 2), entry("kk", 3, 4))
}

// testAgendaAtomic refuses commits that would set, change and remove agendas,
// each alone and together with one that is right.
func testAgendaAtomic(e *env) {
	f := e.mustSeal(shard(1), fence(2, "a"))
	right := state.Commit{Actor: actor(1, "right"), Fence: f, Agenda: due(1, 1)}
	for _, key := range []string{"changed", "removed"} {
		e.mustCommit(state.Commit{Actor: actor(1, key), Fence: f, Agenda: due(5, 5)})
	}
	before := []state.Entry{entry("changed", 5, 5), entry("removed", 5, 5)}
	for key, agenda := range map[string]*state.Agenda{"set": due(6, 6), "changed": due(7, 7), "removed": due(0, 0)} {
		version := uint64(1)
		if key == "set" {
			version = 0
		}
		c := state.Commit{Actor: actor(1, key), Fence: fence(1, "a"), Version: version, Agenda: agenda}
		for _, commits := range [][]state.Commit{{c}, {right, c}, {c, right}} {
			e.wantFenced(e.commit(commits...), shard(1), f)
			e.wantAgendas(shard(1), before...)
		}
		c.Fence, c.Version = f, version+1
		for _, commits := range [][]state.Commit{{c}, {right, c}, {c, right}} {
			e.wantConflict(e.commit(commits...), c.Actor, version+1)
			e.wantAgendas(shard(1), before...)
		}
	}
}

// testAgendaPages reads keys whose order an encoding may change, in pages of
// every size, and from every key on.
func testAgendaPages(e *env) {
	keys := []string{
		"\x00", "\x00\x00", "\x00\x01", "\x00\x02", "\x00a", "\x01", "\x01\x00", "\x01\x01", "\x01\x02", "\x02", "\n", "%", "%00", "%2F",
		"'", "/", "//", "/a", "0", "A", `\`, `\x00`, "_", "a", "a\x00", "a\x00\x00", "a\x00b", "a\x01", "a\x01\x01", "a\x02", "a b", "a/", "a/b", "a0",
		"aB", "aa", "ab", "b", "\x7f", "\u0080", "é", "e\u0301", "日本", "\ud7ff", "\ufffd", "\uffff", "🦀", "\U0010ffff",
		strings.Repeat("k", state.MaxKeyBytes), strings.Repeat("k", state.MaxKeyBytes-1),
		strings.Repeat("\x00", state.MaxKeyBytes), strings.Repeat("\x01", state.MaxKeyBytes),
	}
	f := e.mustSeal(shard(1), fence(1, "a"))
	for i, key := range keys {
		e.mustCommit(state.Commit{Actor: actor(1, key), Fence: f, Agenda: due(int64(i), 1)})
	}
	var all []state.Entry
	for i, key := range keys {
		all = append(all, entry(key, int64(i), 1))
	}
	slices.SortFunc(all, func(a, b state.Entry) int { return strings.Compare(a.Key, b.Key) })
	check := func() {
		e.Helper()
		for _, limit := range []int{1, 2, 3, len(all) - 1, len(all), len(all) + 1, math.MaxInt32, math.MaxInt} {
			if diff := diffEntries(e.agendas(shard(1), limit), all); diff != "" {
				e.Fatalf("in pages of %d: %s", limit, diff)
			}
		}
	}
	check()
	for i, from := range all {
		e.wantPage(from.Key, all[i+1:])
	}
	e.wantPage("a\x00c", all[slices.IndexFunc(all, func(a state.Entry) bool { return a.Key == "a\x01" }):])
	e.wantPage("\xff", nil)

	// One may go on after an agenda that was removed since, and meets those
	// that came.
	gone := all[1]
	e.mustCommit(state.Commit{Actor: actor(1, gone.Key), Fence: f, Version: 1, Agenda: due(0, 0)})
	e.wantPage(gone.Key, all[2:])
	all = slices.Delete(all, 1, 2)
	check()
	e.mustCommit(state.Commit{Actor: actor(1, gone.Key), Fence: f, Version: 2, Agenda: due(9, 9)})
	all = slices.Insert(all, 1, entry(gone.Key, 9, 9))
	check()
}

// wantPage checks the first agendas after a key.
func (e *env) wantPage(after string, rest []state.Entry) {
	e.Helper()
	got, err := e.store.Agenda(e.ctx, shard(1), after, 5)
	if err != nil {
		e.Fatalf("Agenda after %.80q: %v", after, err)
	}
	if diff := diffEntries(got, rest[:min(5, len(rest))]); diff != "" {
		e.Fatalf("after %.80q: %s", after, diff)
	}
}

func testAgendaShardsApart(e *env) {
	shards := []state.Shard{
		{Kind: "a", Number: 1}, {Kind: "a", Number: 10}, {Kind: "a", Number: 11}, {Kind: "a", Number: 111}, {Kind: "a", Number: 2},
		{Kind: "a1", Number: 1}, {Kind: "a.b", Number: 1}, {Kind: "a", Number: 0}, {Kind: "a", Number: math.MaxUint32},
	}
	var want [][]state.Entry
	for i, s := range shards {
		f := e.mustSeal(s, fence(1, "s"))
		own := s.String()
		e.mustCommit(
			state.Commit{Actor: state.Actor{Shard: s, Key: "k"}, Fence: f, Agenda: due(int64(i), 1)},
			state.Commit{Actor: state.Actor{Shard: s, Key: "\U0010ffff" + own}, Fence: f, Agenda: due(2, 2)},
			state.Commit{Actor: state.Actor{Shard: s, Key: "\x00" + own}, Fence: f, Agenda: due(3, 3)},
		)
		want = append(want, []state.Entry{entry("\x00"+own, 3, 3), entry("k", int64(i), 1), entry("\U0010ffff"+own, 2, 2)})
	}
	for i, s := range shards {
		e.wantAgendas(s, want[i]...)
	}
	e.wantAgendas(state.Shard{Kind: "a", Number: 3})
	e.wantAgendas(state.Shard{Kind: "b", Number: 1})
}

func testAgendaSurvivesOwner(e *env) {
	a, b := actor(1, "a"), actor(1, "b")
	f := e.mustSeal(shard(1), fence(1, "a"))
	e.mustCommit(state.Commit{Actor: a, Fence: f, Agenda: due(1, 1)}, state.Commit{Actor: b, Fence: f, Agenda: due(2, 2)})
	g := e.mustSeal(shard(1), fence(2, "b"))
	e.wantAgendas(shard(1), entry("a", 1, 1), entry("b", 2, 2))
	e.mustCommit(state.Commit{Actor: b, Fence: g, Version: 1, Agenda: due(3, 3)})
	e.wantFenced(e.commit(state.Commit{Actor: a, Fence: f, Version: 1, Agenda: due(0, 0)}), shard(1), g)
	e.wantAgendas(shard(1), entry("a", 1, 1), entry("b", 3, 3))
}

func testAgendaInvalid(e *env) {
	f := e.mustSeal(shard(1), fence(1, "a"))
	a := actor(1, "k")
	e.mustCommit(state.Commit{Actor: a, Fence: f, Agenda: due(1, 1)})
	for _, at := range []int64{-1, math.MinInt64} {
		for _, dead := range []uint32{0, 1} {
			err := e.commit(state.Commit{Actor: a, Fence: f, Version: 1, Agenda: due(at, dead)})
			if !errors.Is(err, state.ErrInvalid) {
				e.Errorf("an agenda due at %d: got %v, want ErrInvalid", at, err)
			}
		}
	}
	for _, limit := range []int{0, -1, math.MinInt} {
		if list, err := e.store.Agenda(e.ctx, shard(1), "", limit); !errors.Is(err, state.ErrInvalid) || len(list) > 0 {
			e.Errorf("Agenda with limit %d = %v, %v, want ErrInvalid", limit, list, err)
		}
	}
	for _, s := range []state.Shard{{}, {Kind: "a/b"}, {Kind: "\xff"}, {Kind: strings.Repeat("k", state.MaxKindBytes+1)}} {
		if _, err := e.store.Agenda(e.ctx, s, "", 1); !errors.Is(err, state.ErrInvalid) {
			e.Errorf("Agenda(%.40q) = %v, want ErrInvalid", s, err)
		}
	}
	e.wantAgendas(shard(1), entry("k", 1, 1))
	e.wantStored(a, f, state.Snapshot{Version: 1})
}

// testAgendaMany reads more agendas than one commit writes.
func testAgendaMany(e *env) {
	l := e.store.Limits()
	group := min(l.Commits, l.Rows)
	f := e.mustSeal(shard(1), fence(1, "a"))
	n := 0
	var want []state.Entry
	for range 10 {
		var cs []state.Commit
		for range group {
			n++
			key := fmt.Sprintf("%06d", n)
			cs = append(cs, state.Commit{Actor: actor(1, key), Fence: f, Agenda: due(int64(n), 0)})
			want = append(want, entry(key, int64(n), 0))
		}
		e.mustCommit(cs...)
	}
	for _, limit := range []int{100, 10 * group} {
		if diff := diffEntries(e.agendas(shard(1), limit), want); diff != "" {
			e.Fatalf("in pages of %d: %s", limit, diff)
		}
	}
}
