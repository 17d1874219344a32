package statetest

import (
	"errors"
	"slices"
	"strings"

	"github.com/cajun-go/cajun/state"
)

func testLoadFence(e *env) {
	a := actor(1, "k")
	load := func(f state.Fence) error {
		e.Helper()
		snap, err := e.store.Load(e.ctx, a, f)
		if err != nil && diffSnapshots(snap, state.Snapshot{}) != "" {
			e.Errorf("a refused Load returned %v", snap)
		}
		return err
	}
	e.wantFenced(load(fence(1, "a")), a.Shard, state.Fence{})
	e.wantFenced(load(state.Fence{}), a.Shard, state.Fence{})
	f := e.mustSeal(a.Shard, fence(5, "m"))
	e.mustCommit(state.Commit{Actor: a, Fence: f, Record: []byte("r")})
	for _, wrong := range []state.Fence{fence(4, "m"), fence(6, "m"), fence(5, "a"), fence(5, "z"), {}} {
		e.wantFenced(load(wrong), a.Shard, f)
	}
	g := e.mustSeal(a.Shard, fence(6, "n"))
	e.wantFenced(load(f), a.Shard, g) // a zombie
	e.wantStored(a, g, state.Snapshot{Version: 1, Record: []byte("r")})
}

func testLoadUnwritten(e *env) {
	f := e.mustSeal(shard(1), fence(1, "a"))
	e.mustCommit(state.Commit{Actor: actor(1, "kk"), Fence: f, Record: []byte("r"), Put: rows("x", "1")})
	e.wantStored(actor(1, "k"), f, state.Snapshot{})
	e.wantStored(actor(1, "kkk"), f, state.Snapshot{})
}

func testLoadInvalid(e *env) {
	f := e.mustSeal(shard(1), fence(1, "a"))
	for _, a := range []state.Actor{
		actor(1, ""), actor(1, "\xff"), actor(1, strings.Repeat("k", state.MaxKeyBytes+1)), {Key: "k"},
	} {
		if _, err := e.store.Load(e.ctx, a, f); !errors.Is(err, state.ErrInvalid) {
			e.Errorf("Load(%.20q) = %v, want ErrInvalid", a.Key, err)
		}
	}
}

// testAwkwardKeys keeps keys side by side that an encoding may mix up.
func testAwkwardKeys(e *env) {
	keys := []string{
		"a", "aa", "a/", "/a", "/", "//", "a/b", "a/b/", "a b", ".", "..", "%", "%2F", "%00",
		"\x00", "\x00\x00", "a\x00", "a\x00b", "\x01", "a\x01", "a\x01\x01", "\x00\x01", "\x01\x00",
		"a\x01\x02", "\x02", "a\x7f", "é", "e\u0301", "日本", "🦀", "\U0010ffff", "\ufffd", "'", `"`, `\`, `\x00`, "\n",
		strings.Repeat("k", state.MaxKeyBytes), strings.Repeat("k", state.MaxKeyBytes-1),
		strings.Repeat("\x00", state.MaxKeyBytes), strings.Repeat("\x00", state.MaxKeyBytes-1),
		strings.Repeat("\x01", state.MaxKeyBytes), strings.Repeat("🦀", state.MaxKeyBytes/4),
	}
	f := e.mustSeal(shard(1), fence(1, "a"))
	names := []string{"\x00", "\x01", "b", "row", "\xff"}
	snap := func(key string, version uint64) state.Snapshot {
		s := state.Snapshot{Version: version, Record: []byte("record of " + key)}
		for _, name := range names {
			s.Rows = append(s.Rows, state.Row{Name: name, Value: []byte(name + key)})
		}
		return s
	}
	for _, key := range keys {
		s := snap(key, 1)
		e.mustCommit(state.Commit{Actor: actor(1, key), Fence: f, Record: s.Record, Put: s.Rows})
	}
	for _, key := range keys {
		e.wantStored(actor(1, key), f, snap(key, 1))
	}
	for _, key := range keys {
		e.mustCommit(state.Commit{Actor: actor(1, key), Fence: f, Version: 1, Record: nil, Delete: names})
		e.wantStored(actor(1, key), f, state.Snapshot{Version: 2})
	}
}

func testAwkwardNames(e *env) {
	names := []string{
		"\x00", "\x00\x00", "\x01", "\x01\x01", "\x02", "/", "a", "a\x00", "a\x00b", "a/", "aa", "k", "é", "\x80", "\xc3\x28",
		"\xff", "\xff\xff", strings.Repeat("\xff", state.MaxNameBytes), strings.Repeat("n", state.MaxNameBytes),
		strings.Repeat("\x00", state.MaxNameBytes), strings.Repeat("n", state.MaxNameBytes-1),
	}
	slices.Sort(names)
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(1, "a"))
	var all []state.Row
	for _, name := range names {
		all = append(all, state.Row{Name: name, Value: []byte("value of " + name)})
	}
	backwards := slices.Clone(all)
	slices.Reverse(backwards)
	e.mustCommit(state.Commit{Actor: a, Fence: f, Put: backwards})
	e.wantStored(a, f, state.Snapshot{Version: 1, Rows: all})
	for v := uint64(1); len(all) > 0; v++ {
		i := int(v) * 7 % len(all)
		e.mustCommit(state.Commit{Actor: a, Fence: f, Version: v, Delete: []string{all[i].Name}})
		all = slices.Delete(all, i, i+1)
		e.wantStored(a, f, state.Snapshot{Version: v + 1, Rows: all})
	}
}
