package pgstate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/state"
)

// held is a commit that the test keeps under way: everything is compared, and
// the row beside the record, or the agenda, waits for a transaction of the test.
type held struct {
	done chan error
	hold *raw
}

// holdCommit starts c, a commit of aCommit's row, and waits until it is held.
func holdCommit(t *testing.T, s *Store, ctx context.Context, c state.Commit) *held {
	t.Helper()
	return hold(t, s, ctx, c, `insert into {schema}.actor_rows (kind, shard, key, name, value) values ($1, $2, $3, 'row', '')
		on conflict (kind, shard, key, name) do update set value = ''`)
}

// holdAgenda is holdCommit for the agenda, which is written last.
func holdAgenda(t *testing.T, s *Store, ctx context.Context, c state.Commit) *held {
	t.Helper()
	return hold(t, s, ctx, c, `insert into {schema}.agendas (kind, shard, key, due, dead) values ($1, $2, $3, 0, 0)
		on conflict (kind, shard, key) do update set due = 0`)
}

// hold holds c with an SQL statement that locks what c will write of its actor.
func hold(t *testing.T, s *Store, ctx context.Context, c state.Commit, sql string) *held {
	t.Helper()
	h := &held{make(chan error, 1), admin(t)}
	h.hold.exec("begin")
	h.hold.exec(inSchema(s.schema, sql),
		[]byte(c.Actor.Shard.Kind), int64(c.Actor.Shard.Number), []byte(c.Actor.Key))
	go func() { h.done <- s.Commit(ctx, []state.Commit{c}) }()
	watch := admin(t)
	until(t, "the commit waits", func() bool { return watch.waiting(s.schema) == 1 })
	return h
}

// release lets the commit go on.
func (h *held) release() { h.hold.exec("rollback") }

// TestSealWaitsForCommit: a commit under the old fence that was compared before
// the seal is either visible when Seal returns or never.
func TestSealWaitsForCommit(t *testing.T) {
	s, watch := open(t, newSchema(t)), admin(t)
	mustSeal(t, s, older)
	mustCommit(t, s, aCommit(older, 0, "first"))
	h := holdCommit(t, s, deadline(t), aCommit(older, 1, "second"))

	sealed := make(chan error, 1)
	go func() { sealed <- seal(s, deadline(t), newer) }()
	returned := false
	until(t, "the seal waits too, or has returned", func() bool {
		select {
		case err := <-sealed:
			sealed <- err
			returned = true
		default:
		}
		return returned || watch.waiting(s.schema) == 2
	})
	var before state.Snapshot
	if returned {
		var err error
		if before, err = s.Load(deadline(t), aCommit(newer, 0, "").Actor, newer); err != nil {
			t.Fatal(err)
		}
	}
	h.release()
	committed := <-h.done
	if err := <-sealed; err != nil {
		t.Fatal(err)
	}
	if returned {
		after, err := s.Load(deadline(t), aCommit(newer, 0, "").Actor, newer)
		if err != nil {
			t.Fatal(err)
		}
		t.Fatalf("Seal returned while a commit of the old epoch was under way; Commit = %v; the new owner saw version %d, and then %d",
			committed, before.Version, after.Version)
	}
	if committed != nil {
		t.Errorf("Commit = %v", committed)
	}
	wantRecord(t, s, newer, 2, "second")
	var fenced *state.FencedError
	if err := s.Commit(deadline(t), []state.Commit{aCommit(older, 2, "third")}); !errors.As(err, &fenced) || fenced.Current != newer {
		t.Errorf("a commit of the old epoch after the seal: %v", err)
	}
}

// TestCommitWaitsForSeal: a commit that comes while a seal is under way is
// refused, with the fence that the seal has set.
func TestCommitWaitsForSeal(t *testing.T) {
	s, under, watch := open(t, newSchema(t)), admin(t), admin(t)
	mustSeal(t, s, older)
	under.exec("begin")
	under.exec(s.sql.seal, [][]byte{[]byte(testShard.Kind)}, []int64{int64(testShard.Number)},
		[]string{encodeEpoch(newer.Epoch)}, [][]byte{[]byte(newer.Session)}, false)
	done := make(chan error, 1)
	go func() { done <- s.Commit(deadline(t), []state.Commit{aCommit(older, 0, "late")}) }()
	until(t, "the commit waits", func() bool { return watch.waiting(s.schema) == 1 })
	under.exec("commit")
	var fenced *state.FencedError
	if err := <-done; !errors.As(err, &fenced) || fenced.Current != newer {
		t.Errorf("Commit = %v, want one fenced by the new owner", err)
	}
	wantRecord(t, s, newer, 0, "")
}

// TestSealAmongCommits: commits of the old owner that never cease do not keep a
// seal out. Each holds the fence, and the next one comes before it lets go.
func TestSealAmongCommits(t *testing.T) {
	s, ctx := open(t, newSchema(t)), deadline(t)
	mustSeal(t, s, older)
	const writers = 8
	ready := make(chan struct{}, writers)
	ends := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			c := aCommit(older, 0, "r")
			c.Actor.Key = fmt.Sprint("actor ", i)
			for ; ends[i] == nil; c.Version++ {
				if c.Version == 3 {
					ready <- struct{}{}
				}
				ends[i] = s.Commit(ctx, []state.Commit{c})
			}
		})
	}
	for range writers {
		<-ready
	}
	began := time.Now()
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := seal(s, soon, newer)
	t.Logf("the seal took %v among %d writers", time.Since(began), writers)
	if err != nil {
		t.Error(err)
		mustSeal(t, open(t, s.schema), state.Fence{Epoch: 1 << 40, Session: "end"})
	}
	wg.Wait()
	for i, err := range ends {
		var fenced *state.FencedError
		if !errors.As(err, &fenced) {
			t.Errorf("writer %d ended with %v", i, err)
		}
	}
}

// TestSealTakesTheTable: a seal that is kept out for longer than it waits for a
// row begins again with a lock of the table, and lets nobody overtake it then.
func TestSealTakesTheTable(t *testing.T) {
	s, watch := open(t, newSchema(t)), admin(t)
	mustSeal(t, s, older)
	h := holdCommit(t, s, deadline(t), aCommit(older, 0, "slow"))
	sealed := make(chan error, 1)
	go func() { sealed <- seal(s, deadline(t), newer) }()
	until(t, "the seal waits for the table", func() bool {
		return watch.number("select count(*) from pg_locks where mode = 'ExclusiveLock' and not granted and relation = $1::regclass", s.schema+".fences") == 1
	})
	// A commit that comes now waits, where it would have shared the row's lock.
	other := aCommit(older, 0, "next")
	other.Actor.Key, other.Put = "b", nil
	late := make(chan error, 1)
	go func() { late <- s.Commit(deadline(t), []state.Commit{other}) }()
	until(t, "all three wait", func() bool { return watch.waiting(s.schema) == 3 })
	h.release()
	if err := errors.Join(<-h.done, <-sealed); err != nil {
		t.Fatal(err)
	}
	var fenced *state.FencedError
	if err := <-late; !errors.As(err, &fenced) {
		t.Errorf("the commit that came after the seal: %v", err)
	}
	wantRecord(t, s, newer, 1, "slow")
}

// TestLockOrder: whatever the order of a group, its locks are taken from the
// lowest shard up. The store would repeat what a deadlock undoes, so the test
// looks at the locks: while the lowest one is taken, no other is held.
func TestLockOrder(t *testing.T) {
	const shards = 20
	for name, c := range map[string]struct {
		written   bool
		take, try string
	}{
		"fences": {true, "update {schema}.fences set epoch = epoch where shard = 0", "select from {schema}.fences where shard > 0 for update skip locked"},
		"actors": {true, "select from {schema}.actors where shard = 0 for update", "select from {schema}.actors where shard > 0 for update skip locked"},
		"new actors": {false, "insert into {schema}.actors values ('k', 0, 'a', 1, '')",
			"insert into {schema}.actors select 'k', n, 'a', 1, '' from generate_series(1, 19) n returning shard"},
	} {
		t.Run(name, func(t *testing.T) {
			s, taking, trying, watch := open(t, newSchema(t)), admin(t), admin(t), admin(t)
			var seals []state.Seal
			var group []state.Commit
			for n := range uint32(shards) {
				shard := state.Shard{Kind: "k", Number: shards - 1 - n}
				seals = append(seals, state.Seal{Shard: shard, Fence: older})
				group = append(group, state.Commit{Actor: state.Actor{Shard: shard, Key: "a"}, Fence: older})
			}
			if err := errors.Join(s.Seal(deadline(t), seals)...); err != nil {
				t.Fatal(err)
			}
			if c.written {
				mustCommit(t, s, group...)
				for i := range group {
					group[i].Version = 1
				}
			}
			taking.exec("begin")
			taking.exec(inSchema(s.schema, c.take))
			done := make(chan error, 1)
			go func() { done <- s.Commit(deadline(t), group) }()
			until(t, "the commit waits", func() bool { return watch.waiting(s.schema) == 1 })
			trying.exec("set lock_timeout = '1s'")
			trying.exec("begin")
			if tag, err := trying.Exec(trying.ctx, inSchema(s.schema, c.try)); err != nil || tag.RowsAffected() != shards-1 {
				t.Errorf("%d of %d others are free: %v", tag.RowsAffected(), shards-1, err)
			}
			trying.exec("rollback")
			taking.exec("rollback")
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTwoCreate: an actor that does not exist cannot be locked, so of two commits
// that create it the second one finds out only when it writes.
func TestTwoCreate(t *testing.T) {
	s, watch := open(t, newSchema(t)), admin(t)
	mustSeal(t, s, older)
	h := holdCommit(t, s, deadline(t), aCommit(older, 0, "first"))
	second := aCommit(older, 0, "second")
	second.Put = nil
	done := make(chan error, 1)
	go func() { done <- s.Commit(deadline(t), []state.Commit{second}) }()
	until(t, "both wait", func() bool { return watch.waiting(s.schema) == 2 })
	h.release()
	if err := <-h.done; err != nil {
		t.Error(err)
	}
	var conflict *state.ConflictError
	if err := <-done; !errors.As(err, &conflict) {
		t.Errorf("the second commit: %v, want a *ConflictError", err)
	}
	wantRecord(t, s, older, 1, "first")
}
