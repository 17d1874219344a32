// Package statetest is the suite that every state.Store passes, and Unreliable,
// a store that fails in the ways that stores on a network fail.
//
// The test of an implementation is one line:
//
//	statetest.Run(t, func(t testing.TB) state.Store { return mystore.New() })
package statetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cajun-go/cajun/state"
)

// Run checks all that the contract of state.Store promises. open returns a new
// store with nothing in it; Run closes it. Every subtest opens its own.
func Run(t *testing.T, open func(t testing.TB) state.Store) {
	tests := []struct {
		name string
		run  func(*env)
	}{
		{"SealRaisesFence", testSealRaises},
		{"SealRefusesLowerEpoch", testSealRefusesLower},
		{"SealRepeats", testSealRepeats},
		{"SealRefusesOtherSessionOfSameEpoch", testSealRefusesOtherSession},
		{"SealComparesWholeEpochs", testSealEpochWidth},
		{"SealManyWithMixedResults", testSealMixed},
		{"SealSameShardTwiceInOneCall", testSealTwiceInCall},
		{"SealInvalid", testSealInvalid},
		{"ShardsAreApart", testShardsApart},

		{"CommitNeedsSeal", testCommitNeedsSeal},
		{"CommitComparesFence", testCommitFence},
		{"CommitComparesVersion", testCommitVersion},
		{"CommitKeepsRecordAndRows", testCommitRows},
		{"CommitWritesEmptyValues", testCommitEmptyValues},
		{"CommitNothing", testCommitNothing},
		{"CommitIsAllOrNothing", testCommitAtomic},
		{"CommitNamesFirstRefused", testCommitFirstRefused},
		{"CommitFencesOfOneShardDiffer", testCommitTwoFences},
		{"CommitSurvivesNewOwner", testCommitSurvivesOwner},
		{"CommitCopies", testCommitCopies},
		{"CommitInvalid", testCommitInvalid},

		{"LoadNeedsFence", testLoadFence},
		{"LoadUnwritten", testLoadUnwritten},
		{"LoadInvalid", testLoadInvalid},
		{"AwkwardKeys", testAwkwardKeys},
		{"AwkwardNames", testAwkwardNames},

		{"AgendaChanges", testAgendaChanges},
		{"AgendaIsAtomic", testAgendaAtomic},
		{"AgendaPages", testAgendaPages},
		{"AgendaShardsAreApart", testAgendaShardsApart},
		{"AgendaSurvivesNewOwner", testAgendaSurvivesOwner},
		{"AgendaInvalid", testAgendaInvalid},
		{"AgendaMany", testAgendaMany},

		{"LimitsAreTaken", testLimitsTaken},
		{"LimitsOfKeysAreTaken", testLimitsLongest},
		{"OverLimitsIsRefused", testLimitsRefused},

		{"Bind", testBind},
		{"Close", testClose},
		{"ContextEnds", testContextEnds},

		{"ConcurrentCommitsOfOneActor", testConcurrentCommits},
		{"NoOldCommitAfterSeal", testNoOldCommitAfterSeal},
		{"Model", testModel},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(newEnv(t, open)) })
	}
}

// env is what one subtest works with.
type env struct {
	testing.TB
	ctx   context.Context
	store state.Store
}

func newEnv(t testing.TB, open func(testing.TB) state.Store) *env {
	t.Helper()
	store := open(t)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return &env{TB: t, ctx: ctx, store: store}
}

const kind = "bank.v1.Account"

// shard is a shard of the suite's kind.
func shard(n uint32) state.Shard { return state.Shard{Kind: kind, Number: n} }

// actor is an actor of shard n.
func actor(n uint32, key string) state.Actor { return state.Actor{Shard: shard(n), Key: key} }

func fence(epoch uint64, session string) state.Fence {
	return state.Fence{Epoch: epoch, Session: session}
}

// rows makes rows of names and values in turn.
func rows(pairs ...string) []state.Row {
	var rs []state.Row
	for p := range slices.Chunk(pairs, 2) {
		rs = append(rs, state.Row{Name: p[0], Value: []byte(p[1])})
	}
	return rs
}

// seal raises one fence and returns the result.
func (e *env) seal(s state.Shard, f state.Fence) error {
	e.Helper()
	errs := e.store.Seal(e.ctx, []state.Seal{{Shard: s, Fence: f}})
	if len(errs) != 1 {
		e.Fatalf("Seal of one shard returned %d results", len(errs))
	}
	return errs[0]
}

func (e *env) mustSeal(s state.Shard, f state.Fence) state.Fence {
	e.Helper()
	if err := e.seal(s, f); err != nil {
		e.Fatalf("Seal(%v, %v): %v", s, f, err)
	}
	return f
}

func (e *env) commit(commits ...state.Commit) error { return e.store.Commit(e.ctx, commits) }

func (e *env) mustCommit(commits ...state.Commit) {
	e.Helper()
	if err := e.commit(commits...); err != nil {
		e.Fatalf("Commit: %v", err)
	}
}

func (e *env) mustLoad(a state.Actor, f state.Fence) state.Snapshot {
	e.Helper()
	snap, err := e.store.Load(e.ctx, a, f)
	if err != nil {
		e.Fatalf("Load(%v, %v): %v", a, f, err)
	}
	return snap
}

// wantStored checks what is stored of an actor.
func (e *env) wantStored(a state.Actor, f state.Fence, want state.Snapshot) {
	e.Helper()
	if diff := diffSnapshots(e.mustLoad(a, f), want); diff != "" {
		e.Fatalf("actor %.80q of %v: %s", a.Key, a.Shard, diff)
	}
}

func (e *env) wantFenced(err error, s state.Shard, current state.Fence) {
	e.Helper()
	var fenced *state.FencedError
	if !errors.As(err, &fenced) {
		e.Fatalf("got error %v, want a *FencedError", err)
	}
	if want := (state.FencedError{Shard: s, Current: current}); *fenced != want {
		e.Fatalf("got %+v, want %+v", *fenced, want)
	}
}

func (e *env) wantConflict(err error, a state.Actor, expected uint64) {
	e.Helper()
	var conflict *state.ConflictError
	if !errors.As(err, &conflict) {
		e.Fatalf("got error %v, want a *ConflictError", err)
	}
	if want := (state.ConflictError{Actor: a, Expected: expected}); *conflict != want {
		e.Fatalf("got %+v, want %+v", *conflict, want)
	}
}

// diffSnapshots describes the first difference, or returns "". An empty value
// may come back as nil.
func diffSnapshots(got, want state.Snapshot) string {
	if got.Version != want.Version {
		return fmt.Sprintf("version %d, want %d", got.Version, want.Version)
	}
	if !bytes.Equal(got.Record, want.Record) {
		return fmt.Sprintf("record %.80q, want %.80q", got.Record, want.Record)
	}
	if len(got.Rows) != len(want.Rows) {
		return fmt.Sprintf("%d rows, want %d: got %.400q", len(got.Rows), len(want.Rows), got.Rows)
	}
	for i := range got.Rows {
		if got.Rows[i].Name != want.Rows[i].Name {
			return fmt.Sprintf("row %d is %.80q, want %.80q", i, got.Rows[i].Name, want.Rows[i].Name)
		}
		if !bytes.Equal(got.Rows[i].Value, want.Rows[i].Value) {
			return fmt.Sprintf("row %.80q is %.80q, want %.80q", got.Rows[i].Name, got.Rows[i].Value, want.Rows[i].Value)
		}
	}
	return ""
}
