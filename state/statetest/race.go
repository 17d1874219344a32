package statetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cajun-go/cajun/state"
)

// testConcurrentCommits lets many count in one record. Each commit that says
// that it was applied must have counted once.
func testConcurrentCommits(e *env) {
	const writers, each = 6, 8
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(1, "a"))
	increment := func() error {
		for {
			snap, err := e.store.Load(e.ctx, a, f)
			if err != nil {
				return err
			}
			n := snap.Version
			err = e.commit(state.Commit{Actor: a, Fence: f, Version: n, Record: encodeNumber(n + 1), Put: rows(fmt.Sprintf("%04d", n), "x")})
			var conflict *state.ConflictError
			if !errors.As(err, &conflict) {
				return err
			}
		}
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := increment(); err != nil {
					e.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	snap := e.mustLoad(a, f)
	if n := uint64(writers * each); snap.Version != n || decodeNumber(snap.Record) != n || len(snap.Rows) != int(n) {
		e.Fatalf("%d commits were applied; stored are version %d, record %d, %d rows",
			n, snap.Version, decodeNumber(snap.Record), len(snap.Rows))
	}
}

func encodeNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeNumber(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// takeover is two owners that take two shards from each other, epoch by
// epoch, while writers keep committing under the fence they know.
type takeover struct {
	*env
	// holder is the fence that the writers use: the latest that was published.
	holder atomic.Pointer[state.Fence]
	// sealed is the highest epoch whose Seal has returned.
	sealed  atomic.Uint64
	writers []*writer
}

// writer commits to one actor in each shard, in one step.
type writer struct {
	actors  [2]state.Actor
	version atomic.Uint64
	// applied and refused are the latest epochs under which a commit was.
	applied, refused atomic.Uint64
	// tried holds a token after each commit; stopped is closed at the end.
	tried, stopped chan struct{}
}

// testNoOldCommitAfterSeal is the promise on which the safety of everything
// durable rests: once Seal has returned, no commit of an older epoch becomes
// visible, not even one that was on its way.
func testNoOldCommitAfterSeal(e *env) {
	const writers = 4
	least, most, enough := uint64(12), uint64(1000), 1500*time.Millisecond
	t := &takeover{env: e}
	for i := range writers {
		key := fmt.Sprintf("writer-%d", i)
		t.writers = append(t.writers, &writer{
			actors: [2]state.Actor{actor(1, key), actor(2, key)},
			tried:  make(chan struct{}, 1), stopped: make(chan struct{}),
		})
	}
	first := fence(1, "a")
	t.seal(first)
	t.holder.Store(&first)

	ctx, stop := context.WithCancel(e.ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, w := range t.writers {
		wg.Go(func() { t.write(ctx, w) })
	}
	for epoch, began := uint64(2), time.Now(); epoch < most && !e.Failed(); epoch++ {
		if epoch > least && (testing.Short() || time.Since(began) > enough) {
			break
		}
		t.round(fence(epoch, string("ab"[epoch%2])))
	}
}

func (t *takeover) seal(f state.Fence) {
	t.Helper()
	for _, err := range t.store.Seal(t.ctx, []state.Seal{{Shard: shard(1), Fence: f}, {Shard: shard(2), Fence: f}}) {
		if err != nil {
			t.Fatalf("Seal(%v): %v", f, err)
		}
	}
	t.sealed.Store(f.Epoch)
}

// round is one change of owner.
func (t *takeover) round(next state.Fence) {
	// Commits of the old epoch are under way when the new one is sealed, and
	// go on after that.
	for _, w := range t.writers {
		t.await(w, &w.applied, next.Epoch-1)
	}
	t.seal(next)
	// Nobody else has the new fence: what is read now must stay.
	before := t.loadAll(next)
	for range 3 {
		for _, w := range t.writers {
			w.refused.Store(0)
			t.await(w, &w.refused, next.Epoch-1)
		}
		for i, snap := range t.loadAll(next) {
			if diff := diffSnapshots(snap, before[i]); diff != "" {
				t.Fatalf("after epoch %d was sealed, a commit of epoch %d became visible: %s", next.Epoch, decodeNumber(snap.Record), diff)
			}
		}
	}
	for i, w := range t.writers {
		version := before[2*i].Version
		for range 2 {
			// A conflict here is an old commit that came between.
			t.mustCommit(w.commits(next, version)...)
			version++
		}
		w.version.Store(version)
	}
	t.holder.Store(&next)
}

// await waits until at has the value epoch.
func (t *takeover) await(w *writer, at *atomic.Uint64, epoch uint64) {
	for at.Load() != epoch {
		select {
		case <-w.tried:
		case <-w.stopped:
			t.FailNow() // the writer has said why
		case <-t.ctx.Done():
			t.Fatalf("the writer of %q does not get on", w.actors[0].Key)
		}
	}
}

func (t *takeover) loadAll(f state.Fence) []state.Snapshot {
	var all []state.Snapshot
	for _, w := range t.writers {
		one, two := t.mustLoad(w.actors[0], f), t.mustLoad(w.actors[1], f)
		if one.Version != two.Version {
			t.Fatalf("half of a commit is visible: versions %d and %d", one.Version, two.Version)
		}
		all = append(all, one, two)
	}
	t.checkAgendas(all)
	return all
}

// checkAgendas wants the agenda of each writer's actors to be of the same
// commit as its record. The fence is held, so nothing changes between the two.
func (t *takeover) checkAgendas(loaded []state.Snapshot) {
	for i := range uint32(2) {
		var want []state.Entry
		for n, w := range t.writers {
			if version := loaded[2*n+int(i)].Version; version > 0 {
				want = append(want, entry(w.actors[i].Key, int64(version), 0))
			}
		}
		if diff := diffEntries(t.agendas(shard(i+1), len(t.writers)+1), want); diff != "" {
			t.Fatalf("agendas and records of shard %d are of different commits: %s", i+1, diff)
		}
	}
}

func (w *writer) commits(f state.Fence, version uint64) []state.Commit {
	var cs []state.Commit
	for _, a := range w.actors {
		cs = append(cs, state.Commit{Actor: a, Fence: f, Version: version, Record: encodeNumber(f.Epoch), Agenda: due(int64(version+1), 0)})
	}
	return cs
}

// write commits until ctx ends. It keeps using a fence after it was refused,
// with the right version, until the next one is published.
func (t *takeover) write(ctx context.Context, w *writer) {
	defer close(w.stopped)
	for ctx.Err() == nil && !t.Failed() {
		f, version, sealed := *t.holder.Load(), w.version.Load(), t.sealed.Load()
		err := t.store.Commit(ctx, w.commits(f, version))
		var fenced *state.FencedError
		var conflict *state.ConflictError
		switch {
		case err == nil:
			if sealed > f.Epoch {
				t.Errorf("a commit of epoch %d was applied that began after epoch %d was sealed", f.Epoch, sealed)
			}
			w.version.CompareAndSwap(version, version+1)
			w.applied.Store(f.Epoch)
		case errors.As(err, &fenced):
			w.refused.Store(f.Epoch)
			if fenced.Current.Epoch <= f.Epoch {
				t.Errorf("a commit of epoch %d was refused by epoch %d", f.Epoch, fenced.Current.Epoch)
			}
		case errors.As(err, &conflict):
			// The new owner has written meanwhile; its round ends with the
			// version to go on from.
		case ctx.Err() == nil:
			t.Errorf("Commit: %v", err)
		}
		select {
		case w.tried <- struct{}{}:
		default:
		}
		runtime.Gosched()
	}
}
