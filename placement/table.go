package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

// Table is a node's picture of the kinds and of their shard records, kept up to
// date from the metadata store. It lags behind the store by the way of a
// message. Its methods are safe for concurrent use; Lookup and Kind take no
// lock.
type Table struct {
	store metadata.Store
	space metadata.Space
	log   *slog.Logger

	kinds atomic.Pointer[kindIndex]

	mu       sync.Mutex // writers, and everything below
	revision int64
	// strays are records of kinds that are not known yet: kinds and shards are
	// followed apart.
	strays  map[state.Shard]*Record
	changed chan struct{} // made when asked for
	waits   map[state.Shard]chan struct{}
	observe func(state.Shard)

	stop context.CancelFunc
	work sync.WaitGroup
	// done is closed when the table no longer follows.
	done   chan struct{}
	closed sync.Once
}

// kindIndex is an immutable index of the kinds.
type kindIndex struct {
	byIdentity, byName map[string]*kindTable
}

// kindTable is a kind with its records. All fields but the contents of shards
// are immutable.
type kindTable struct {
	info   KindInfo
	shards *shardTable
}

type shardTable struct {
	// records point to immutable records; nil ones were never claimed.
	records []atomic.Pointer[Record]
}

// NewTable returns a table that is loaded already, and follows the store until
// Close. ctx bounds the loading only. A nil logger discards.
func NewTable(ctx context.Context, store metadata.Store, space metadata.Space, logger *slog.Logger) (*Table, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	t := &Table{
		store:  store,
		space:  space,
		log:    logger,
		strays: make(map[state.Shard]*Record),
		waits:  make(map[state.Shard]chan struct{}),
		done:   make(chan struct{}),
	}
	t.kinds.Store(&kindIndex{})
	// The kinds last: then there is one for every record.
	for _, part := range []struct {
		prefix string
		metadata.Follower
	}{{space.Shards(), shardFollower{t}}, {space.Kinds(), kindFollower{t}}} {
		snap, err := store.List(ctx, part.prefix)
		if err != nil {
			return nil, fmt.Errorf("placement: cannot list what is under %q: %w", part.prefix, err)
		}
		part.Reset(snap)
	}
	followCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	t.stop = stop
	t.work.Go(func() { metadata.Follow(followCtx, store, space.Kinds(), kindFollower{t}, logger) })
	t.work.Go(func() { metadata.Follow(followCtx, store, space.Shards(), shardFollower{t}, logger) })
	return t, nil
}

// Close stops following and waits until that has stopped. The table goes on
// showing what it knew last.
func (t *Table) Close() {
	t.stop()
	t.work.Wait()
	t.closed.Do(func() { close(t.done) })
}

// Lookup returns the record of a shard of the kind with this identity, and
// whether there is one.
func (t *Table) Lookup(identity string, shard uint32) (Record, bool) {
	k := t.kinds.Load().byIdentity[identity]
	if k == nil || int(shard) >= len(k.shards.records) {
		return Record{}, false
	}
	r := k.shards.records[shard].Load()
	if r == nil {
		return Record{}, false
	}
	return *r, true
}

// Kind returns the kind that a name or an alias addresses, and whether there is
// one. Its Names are shared: do not change them.
func (t *Table) Kind(name string) (KindInfo, bool) {
	k := t.kinds.Load().byName[name]
	if k == nil {
		return KindInfo{}, false
	}
	return k.info, true
}

// Kinds returns all kinds, in order of their identities.
func (t *Table) Kinds() []KindInfo {
	var kinds []KindInfo
	for _, k := range t.kinds.Load().byIdentity {
		kinds = append(kinds, k.info)
	}
	slices.SortFunc(kinds, func(a, b KindInfo) int { return strings.Compare(a.Identity, b.Identity) })
	return kinds
}

// Records returns the records of all shards of a kind; those with epoch 0 stand
// for shards that were never claimed. It returns nil for an unknown kind.
func (t *Table) Records(identity string) []Record {
	k := t.kinds.Load().byIdentity[identity]
	if k == nil {
		return nil
	}
	records := make([]Record, len(k.shards.records))
	for n := range records {
		if r := k.shards.records[n].Load(); r != nil {
			records[n] = *r
		}
	}
	return records
}

// Revision is the store's revision up to which the shard records are complete.
func (t *Table) Revision() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.revision
}

// Changed returns a channel that is closed at the next change of a kind or of a
// record. Ask for it before reading the table, so that no change falls in
// between.
func (t *Table) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

// WaitRecord returns the record of a shard, and whether there is one, as soon as
// it is newer than the revision after. It wakes up for changes of that shard
// only. It fails when ctx or the table ends first, and for a shard that does not
// exist.
func (t *Table) WaitRecord(ctx context.Context, identity string, shard uint32, after int64) (Record, bool, error) {
	k := t.kinds.Load().byIdentity[identity]
	if k == nil || int(shard) >= len(k.shards.records) {
		return Record{}, false, fmt.Errorf("placement: the cluster has no shard %s/%d", identity, shard)
	}
	s := state.Shard{Kind: identity, Number: shard}
	t.mu.Lock()
	if r, ok := t.Lookup(identity, shard); ok && r.Modified > after {
		t.mu.Unlock()
		return r, true, nil
	}
	wait := t.waits[s]
	if wait == nil {
		wait = make(chan struct{})
		t.waits[s] = wait
	}
	t.mu.Unlock()
	select {
	case <-wait:
		r, ok := t.Lookup(identity, shard)
		return r, ok, nil
	case <-t.done:
		return Record{}, false, errors.New("placement: the table was closed")
	case <-ctx.Done():
		return Record{}, false, fmt.Errorf("placement: waiting for a change of shard %s: %w", s, context.Cause(ctx))
	}
}

// onChange makes the table call f after each change of a record that the store
// reported, without its lock; nil ends that. There is one such observer.
func (t *Table) onChange(f func(state.Shard)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.observe = f
}

// learn adds a record that was read or written outside of the watch, unless the
// table knows it or a newer one, and reports whether it did. The observer is not
// told.
func (t *Table) learn(s state.Shard, r Record) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.setLocked(s, &r, r.Modified)
}

// setLocked replaces the record of a shard; r is nil when it was deleted at the
// revision. It reports whether that was news.
func (t *Table) setLocked(s state.Shard, r *Record, revision int64) bool {
	k := t.kinds.Load().byIdentity[s.Kind]
	if k == nil {
		if r == nil {
			delete(t.strays, s)
		} else {
			t.strays[s] = r
		}
		return false
	}
	if !k.shards.set(s.Number, r, revision) {
		return false
	}
	if wait := t.waits[s]; wait != nil {
		close(wait)
		delete(t.waits, s)
	}
	t.changedLocked()
	return true
}

func (t *Table) changedLocked() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

func newShardTable(shards int) *shardTable {
	return &shardTable{records: make([]atomic.Pointer[Record], shards)}
}

func (st *shardTable) set(shard uint32, r *Record, revision int64) bool {
	if int(shard) >= len(st.records) {
		return false
	}
	old := st.records[shard].Load()
	if old == nil && r == nil || old != nil && old.Modified >= revision {
		return false
	}
	st.records[shard].Store(r)
	return true
}
