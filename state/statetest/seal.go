package statetest

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/cajun-go/cajun/state"
)

func testSealRaises(e *env) {
	s := shard(1)
	e.mustSeal(s, fence(1, "a"))
	e.mustSeal(s, fence(2, "b"))
	f := e.mustSeal(s, fence(7, "a"))
	e.mustCommit(state.Commit{Actor: actor(1, "k"), Fence: f})
}

func testSealRefusesLower(e *env) {
	s := shard(1)
	f := e.mustSeal(s, fence(5, "a"))
	for _, epoch := range []uint64{1, 4} {
		e.wantFenced(e.seal(s, fence(epoch, "a")), s, f)
		e.wantFenced(e.seal(s, fence(epoch, "z")), s, f)
	}
	// A refused seal changes nothing.
	e.mustCommit(state.Commit{Actor: actor(1, "k"), Fence: f})
}

func testSealRepeats(e *env) {
	s, a := shard(1), actor(1, "k")
	f := e.mustSeal(s, fence(3, "a"))
	e.mustSeal(s, f)
	e.mustCommit(state.Commit{Actor: a, Fence: f, Record: []byte("r")})
	e.mustSeal(s, f)
	e.wantStored(a, f, state.Snapshot{Version: 1, Record: []byte("r")})
}

func testSealRefusesOtherSession(e *env) {
	s := shard(1)
	f := e.mustSeal(s, fence(3, "bb"))
	// Sessions that sort before and after, that are longer and shorter.
	for _, session := range []string{"aa", "cc", "b", "bbb", "bb\x00"} {
		e.wantFenced(e.seal(s, fence(3, session)), s, f)
	}
	e.mustCommit(state.Commit{Actor: actor(1, "k"), Fence: f})
}

// testSealEpochWidth walks epochs at which a comparison of something other
// than whole unsigned numbers goes wrong.
func testSealEpochWidth(e *env) {
	epochs := []uint64{
		1, 9, 10, 99, 100, 255, 256, 1<<16 - 1, 1 << 16, 1<<32 - 1, 1 << 32,
		math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64,
	}
	s := shard(1)
	for i, epoch := range epochs {
		// Sessions fall while epochs rise.
		f := e.mustSeal(s, fence(epoch, fmt.Sprintf("s%02d", len(epochs)-i)))
		if i > 0 {
			e.wantFenced(e.seal(s, fence(epochs[i-1], "zzz")), s, f)
		}
	}
}

// testSealMixed seals more shards than any store takes in one transaction:
// some absent, some lower, some equal, some higher, some of another session.
func testSealMixed(e *env) {
	const n = 700
	mine := fence(10, "new")
	before := func(i uint32) (state.Fence, bool) {
		switch i % 5 {
		case 0:
			return fence(9, "old"), true
		case 1:
			return mine, true
		case 2:
			return fence(11, "old"), true
		case 3:
			return fence(10, "old"), true
		}
		return state.Fence{}, false
	}
	var first, second []state.Seal
	for i := range uint32(n) {
		if f, ok := before(i); ok {
			first = append(first, state.Seal{Shard: shard(i), Fence: f})
		}
		second = append(second, state.Seal{Shard: shard(i), Fence: mine})
	}
	for i, err := range e.store.Seal(e.ctx, first) {
		if err != nil {
			e.Fatalf("Seal(%v): %v", first[i], err)
		}
	}
	for range 2 { // the second time is a repeat
		errs := e.store.Seal(e.ctx, second)
		if len(errs) != n {
			e.Fatalf("%d results of %d seals", len(errs), n)
		}
		for i, err := range errs {
			old, _ := before(uint32(i))
			if i%5 == 2 || i%5 == 3 {
				e.wantFenced(err, shard(uint32(i)), old)
			} else if err != nil {
				e.Fatalf("Seal of shard %d: %v", i, err)
			}
		}
	}
	if errs := e.store.Seal(e.ctx, nil); len(errs) != 0 {
		e.Fatalf("sealing nothing returned %v", errs)
	}
}

func testSealTwiceInCall(e *env) {
	s := shard(1)
	errs := e.store.Seal(e.ctx, []state.Seal{
		{Shard: s, Fence: fence(2, "a")},
		{Shard: s, Fence: fence(2, "a")},
		{Shard: shard(2), Fence: fence(2, "a")},
		{Shard: s, Fence: fence(3, "a")},
		{Shard: s, Fence: fence(2, "a")},
	})
	for i, err := range errs[:4] {
		if err != nil {
			e.Errorf("seal %d: %v", i, err)
		}
	}
	e.wantFenced(errs[4], s, fence(3, "a"))
}

func testSealInvalid(e *env) {
	good := shard(1)
	bad := []state.Seal{
		{Shard: good, Fence: fence(0, "a")},
		{Shard: good, Fence: fence(1, "")},
		{Shard: good, Fence: fence(1, strings.Repeat("s", state.MaxSessionBytes+1))},
		{Shard: state.Shard{}, Fence: fence(1, "a")},
		{Shard: state.Shard{Kind: "a/b"}, Fence: fence(1, "a")},
		{Shard: state.Shard{Kind: "\xff"}, Fence: fence(1, "a")},
		{Shard: state.Shard{Kind: strings.Repeat("k", state.MaxKindBytes+1)}, Fence: fence(1, "a")},
	}
	// One that is invalid does not spoil the others.
	errs := e.store.Seal(e.ctx, append(bad, state.Seal{Shard: good, Fence: fence(1, "a")}))
	for i := range bad {
		if !errors.Is(errs[i], state.ErrInvalid) {
			e.Errorf("Seal(%v) = %v, want ErrInvalid", bad[i], errs[i])
		}
	}
	if err := errs[len(bad)]; err != nil {
		e.Errorf("the valid seal among invalid ones: %v", err)
	}
}

// testShardsApart uses shards whose names could be taken for one another.
func testShardsApart(e *env) {
	shards := []state.Shard{
		{Kind: "a", Number: 1}, {Kind: "a", Number: 11}, {Kind: "a", Number: 111},
		{Kind: "a1", Number: 1}, {Kind: "a.b", Number: 1}, {Kind: "a.b.c", Number: 1},
		{Kind: "a", Number: 0}, {Kind: "a", Number: math.MaxUint32},
	}
	for i, s := range shards {
		f := e.mustSeal(s, fence(uint64(i+1), "s"))
		e.mustCommit(state.Commit{
			Actor: state.Actor{Shard: s, Key: "k"}, Fence: f,
			Record: []byte(s.String()), Put: rows("row", s.String()),
		})
	}
	for i, s := range shards {
		e.wantStored(state.Actor{Shard: s, Key: "k"}, fence(uint64(i+1), "s"), state.Snapshot{
			Version: 1, Record: []byte(s.String()), Rows: rows("row", s.String()),
		})
	}
}
