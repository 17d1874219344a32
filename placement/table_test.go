package placement

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
	"github.com/cajun-go/cajun/state"
)

// inTable runs a test in a bubble with a table that knows one kind.
func inTable(t *testing.T, test func(t *testing.T, store *memmeta.Store, space metadata.Space, table *Table)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		store, space := newStore(t)
		register(t, store, space, KindSpec{[]string{testKind, "alias"}, 16})
		table, err := NewTable(t.Context(), store, space, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		test(t, store, space, table)
	})
}

func putRecord(t *testing.T, store metadata.Store, space metadata.Space, kind string, n uint32, r Record) int64 {
	t.Helper()
	value, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	res, err := store.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put(space.Shard(kind, n), value, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	return res.Revision
}

func TestTableFollowsRecords(t *testing.T) {
	inTable(t, func(t *testing.T, store *memmeta.Store, space metadata.Space, table *Table) {
		if _, ok := table.Lookup(testKind, 3); ok {
			t.Error("a shard without a record has one")
		}
		changed := table.Changed()
		want := Record{Owner: "a", Epoch: 4, Phase: Draining, Target: "b"}
		want.Modified = putRecord(t, store, space, testKind, 3, want)
		synctest.Wait()
		if got, ok := table.Lookup(testKind, 3); !ok || got != want {
			t.Errorf("Lookup = %+v, %v, want %+v", got, ok, want)
		}
		select {
		case <-changed:
		default:
			t.Error("Changed did not tell")
		}
		if r := table.Revision(); r != want.Modified {
			t.Errorf("Revision = %d, want %d", r, want.Modified)
		}
		if records := table.Records(testKind); len(records) != 16 || records[3] != want || records[4].Epoch != 0 {
			t.Errorf("Records = %+v", records)
		}
		// What cannot be looked up is not there.
		for kind, n := range map[string]uint32{"alias": 3, "none": 3, testKind: 16} {
			if got, ok := table.Lookup(kind, n); ok {
				t.Errorf("Lookup(%q, %d) = %+v", kind, n, got)
			}
		}
		if _, err := store.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Delete(space.Shard(testKind, 3))}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, ok := table.Lookup(testKind, 3); ok {
			t.Errorf("a deleted record is shown: %+v", got)
		}
	})
}

// After it fell behind, a table lists anew; what was deleted meanwhile goes, and
// what it has learnt of elsewhere and is newer stays.
func TestTableReset(t *testing.T) {
	inTable(t, func(t *testing.T, store *memmeta.Store, space metadata.Space, table *Table) {
		putRecord(t, store, space, testKind, 1, Record{Owner: "a", Epoch: 1, Phase: Open})
		synctest.Wait()
		table.learn(state.Shard{Kind: testKind, Number: 2}, Record{Owner: "b", Epoch: 1, Phase: Open, Modified: 1000})
		var told []state.Shard
		table.onChange(func(s state.Shard) { told = append(told, s) })
		shardFollower{table}.Reset(metadata.Snapshot{Revision: 100})
		if _, ok := table.Lookup(testKind, 1); ok {
			t.Error("a record that is not in the list is still shown")
		}
		if _, ok := table.Lookup(testKind, 2); !ok {
			t.Error("a record that is newer than the list is gone")
		}
		if len(told) != 1 || told[0].Number != 1 {
			t.Errorf("the observer was told of %v", told)
		}
	})
}

// A record that was learnt of early is not replaced by older news.
func TestTableLearnsOnlyNews(t *testing.T) {
	inTable(t, func(t *testing.T, store *memmeta.Store, space metadata.Space, table *Table) {
		s := state.Shard{Kind: testKind, Number: 1}
		newer := Record{Owner: "b", Epoch: 2, Phase: Open, Modified: 1000}
		table.learn(s, newer)
		putRecord(t, store, space, testKind, 1, Record{Owner: "a", Epoch: 1, Phase: Open})
		synctest.Wait()
		if got, _ := table.Lookup(testKind, 1); got != newer {
			t.Errorf("Lookup = %+v, want %+v", got, newer)
		}
	})
}

// Records may arrive before their kind.
func TestTableKindAfterRecord(t *testing.T) {
	inTable(t, func(t *testing.T, store *memmeta.Store, space metadata.Space, table *Table) {
		putRecord(t, store, space, "late.Kind", 2, Record{Owner: "a", Epoch: 1, Phase: Open})
		synctest.Wait()
		register(t, store, space, KindSpec{[]string{"late.Kind"}, 4})
		synctest.Wait()
		if got, ok := table.Lookup("late.Kind", 2); !ok || got.Owner != "a" {
			t.Errorf("Lookup = %+v, %v", got, ok)
		}
		if kinds := table.Kinds(); len(kinds) != 2 || kinds[0].Identity != testKind || kinds[1].Identity != "late.Kind" {
			t.Errorf("Kinds = %+v", kinds)
		}
		// More names for a kind do not cost its records.
		register(t, store, space, KindSpec{[]string{"late.Kind", "later.Kind"}, 4})
		synctest.Wait()
		if _, ok := table.Lookup("late.Kind", 2); !ok {
			t.Error("a new alias cost the records")
		}
		if info, ok := table.Kind("later.Kind"); !ok || info.Identity != "late.Kind" {
			t.Errorf("Kind = %+v, %v", info, ok)
		}
	})
}

func TestTableDamagedRecords(t *testing.T) {
	inTable(t, func(t *testing.T, store *memmeta.Store, space metadata.Space, table *Table) {
		for n, value := range []string{"", "garbage", "\x0a\x01a"} {
			key := space.Shard(testKind, uint32(n))
			if _, err := store.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put(key, []byte(value), 0)}}); err != nil {
				t.Fatal(err)
			}
		}
		putRecord(t, store, space, testKind, 9, Record{Owner: "a", Epoch: 1, Phase: Open})
		synctest.Wait()
		for n := range uint32(3) {
			if got, ok := table.Lookup(testKind, n); ok {
				t.Errorf("a damaged record is shown: %+v", got)
			}
		}
		if _, ok := table.Lookup(testKind, 9); !ok {
			t.Error("a record after damaged ones is missing")
		}
	})
}

func TestWaitRecord(t *testing.T) {
	inTable(t, func(t *testing.T, store *memmeta.Store, space metadata.Space, table *Table) {
		first := putRecord(t, store, space, testKind, 1, Record{Owner: "a", Epoch: 1, Phase: Open})
		synctest.Wait()
		if got, ok, err := table.WaitRecord(t.Context(), testKind, 1, first-1); err != nil || !ok || got.Modified != first {
			t.Errorf("WaitRecord for what is there = %+v, %v, %v", got, ok, err)
		}
		done := make(chan error, 1)
		go func() {
			got, _, err := table.WaitRecord(t.Context(), testKind, 1, first)
			if err == nil && got.Owner != "b" {
				err = fmt.Errorf("it returned %+v", got)
			}
			done <- err
		}()
		synctest.Wait()
		putRecord(t, store, space, testKind, 2, Record{Owner: "x", Epoch: 1, Phase: Open})
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("it returned for another shard: %v", err)
		default:
		}
		putRecord(t, store, space, testKind, 1, Record{Owner: "b", Epoch: 2, Phase: Open})
		if err := <-done; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := table.WaitRecord(ctx, testKind, 5, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("WaitRecord with a context that ended: %v", err)
		}
		if _, _, err := table.WaitRecord(t.Context(), testKind, 16, 0); err == nil {
			t.Error("WaitRecord for a shard that does not exist waits for nothing")
		}
	})
}

func TestRecordEncoding(t *testing.T) {
	start := Record{Owner: "a", Epoch: 7, Phase: Open}
	for _, r := range []Record{start, start.Moving("b"), start.ReleasedTo("b"), start.ReleasedTo(""), start.Moving("b").Reopened(),
		start.Claimed("b", 0), start.Claimed("b", 20), Record{}.Claimed("a", 0)} {
		value, err := r.Encode()
		if err != nil {
			t.Errorf("%+v: %v", r, err)
		}
		r.Modified = 9
		if got, err := Decode(metadata.Entry{Key: "k", Value: value, Modified: 9}); err != nil || got != r {
			t.Errorf("%+v became %+v, %v", r, got, err)
		}
	}
	if got := start.Claimed("b", 20).Epoch; got != 21 {
		t.Errorf("a claim above fence 20 has epoch %d", got)
	}
	for _, bad := range []Record{{}, {Owner: "a", Phase: Open}, {Owner: "a", Epoch: 1}, {Owner: "a", Epoch: 1, Phase: 4},
		{Owner: "a", Epoch: 1, Phase: Open, Target: "b"}, {Owner: "a", Epoch: 1, Phase: Draining}} {
		if _, err := bad.Encode(); err == nil {
			t.Errorf("%+v was encoded", bad)
		}
	}
}

func TestHolder(t *testing.T) {
	open := Record{Owner: "a", Epoch: 1, Phase: Open}
	for _, tc := range []struct {
		rec  Record
		live string
		want string
	}{
		{open, "ab", "a"}, {open, "b", ""},
		{open.Moving("b"), "ab", "b"}, {open.Moving("b"), "a", "a"}, {open.Moving("b"), "b", "b"}, {open.Moving("b"), "", ""},
		{open.ReleasedTo("b"), "ab", "b"}, {open.ReleasedTo("b"), "a", ""}, {open.ReleasedTo(""), "a", ""},
	} {
		live := func(s string) bool { return len(s) == 1 && (tc.live == s || tc.live == "ab") }
		if got := tc.rec.Holder(live); got != tc.want {
			t.Errorf("%+v with %q alive: holder %q, want %q", tc.rec, tc.live, got, tc.want)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	store := memmeta.New()
	defer store.Close()
	space, err := metadata.NewSpace("test")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := Register(b.Context(), store, space, []KindSpec{{[]string{testKind}, 16}}); err != nil {
		b.Fatal(err)
	}
	table, err := NewTable(b.Context(), store, space, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer table.Close()
	table.learn(state.Shard{Kind: testKind, Number: 3}, Record{Owner: "a", Epoch: 1, Phase: Open, Modified: 1000})
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := table.Lookup(testKind, 3); !ok {
			b.Fatal("no record")
		}
	}
}
