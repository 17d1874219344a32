// Package memmeta is a metadata store in the memory of one process, for tests
// and simulations. It keeps the whole contract of metadata.Store; what it does
// not do is survive.
//
// All nodes of a test cluster share one Store. Time is the package time's, so
// inside a testing/synctest bubble leases run on fake time.
package memmeta

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/internal/feed"
)

// Store implements metadata.Store. It runs no goroutine of its own while it
// is idle: leases are timers, and watches are buffers that writers fill.
type Store struct {
	mu       sync.Mutex
	closed   bool
	revision int64
	entries  map[string]metadata.Entry
	keys     []string // of entries, sorted
	history  history
	watches  []*watch

	leases    map[metadata.LeaseID]*lease
	lastLease metadata.LeaseID

	// callbacks counts timers and contexts that may still call back.
	callbacks sync.WaitGroup
}

var _ metadata.Store = (*Store)(nil)

// New returns an empty store at revision 1. Close it, or its leases keep
// their timers until they expire.
func New() *Store {
	return &Store{
		revision: 1,
		entries:  make(map[string]metadata.Entry),
		leases:   make(map[metadata.LeaseID]*lease),
	}
}

// enter locks the store for one call. When it returns nil the caller unlocks.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return metadata.ErrClosed
	}
	return nil
}

// Get implements metadata.Store.
func (s *Store) Get(ctx context.Context, key string) (metadata.Entry, bool, error) {
	if err := s.enter(ctx); err != nil {
		return metadata.Entry{}, false, err
	}
	defer s.mu.Unlock()
	e, ok := s.entries[key]
	return clone(e), ok, nil
}

// List implements metadata.Store.
func (s *Store) List(ctx context.Context, prefix string) (metadata.Snapshot, error) {
	if err := s.enter(ctx); err != nil {
		return metadata.Snapshot{}, err
	}
	defer s.mu.Unlock()
	snapshot := metadata.Snapshot{Revision: s.revision}
	start, _ := slices.BinarySearch(s.keys, prefix)
	for _, key := range s.keys[start:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		snapshot.Entries = append(snapshot.Entries, clone(s.entries[key]))
	}
	return snapshot, nil
}

// Commit implements metadata.Store.
func (s *Store) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	if err := t.Validate(); err != nil {
		return metadata.Result{}, err
	}
	if err := s.enter(ctx); err != nil {
		return metadata.Result{}, err
	}
	defer s.mu.Unlock()
	for _, c := range t.If {
		if !s.holds(c) {
			return metadata.Result{Revision: s.revision}, nil
		}
	}
	for _, op := range t.Then {
		if !op.Delete && op.Lease != 0 && s.liveLease(op.Lease) == nil {
			return metadata.Result{}, metadata.ErrLeaseGone
		}
	}
	s.apply(t.Then)
	return metadata.Result{Applied: true, Revision: s.revision}, nil
}

// Compact forgets the changes below revision: a watch that asks for them gets
// ErrCompacted. Tests use it to make readers list again.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.history.compact(min(revision, s.revision))
	return nil
}

// Close ends every watch with ErrClosed and stops every lease's timer. When
// it returns the store runs nothing any more. Closing twice is no error.
func (s *Store) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		for _, l := range s.leases {
			s.dropLease(l)
		}
		for _, w := range s.watches {
			w.feed.Fail(metadata.ErrClosed)
			s.unhook(w)
		}
		s.watches = nil
	}
	s.mu.Unlock()
	s.callbacks.Wait()
	return nil
}

// holds evaluates one condition.
func (s *Store) holds(c metadata.Cond) bool {
	e, ok := s.entries[c.Key]
	switch c.Kind {
	case metadata.CondAbsent:
		return !ok
	case metadata.CondPresent:
		return ok
	case metadata.CondCreatedAt:
		return ok && e.Created == c.Revision
	case metadata.CondModifiedAt:
		return ok && e.Modified == c.Revision
	default:
		return false // Validate let none through
	}
}

// apply carries out ops at one new revision, if they change anything, and
// tells the watches. The leases of puts are alive.
func (s *Store) apply(ops []metadata.Op) {
	revision := s.revision + 1
	var events []metadata.Event
	for _, op := range ops {
		if op.Delete {
			if s.remove(op.Key) {
				events = append(events, metadata.Event{Entry: metadata.Entry{Key: op.Key, Modified: revision}, Deleted: true})
			}
			continue
		}
		events = append(events, metadata.Event{Entry: s.put(op, revision)})
	}
	if len(events) == 0 {
		return
	}
	s.revision = revision
	s.history.add(revision, events)
	s.publish(revision, events)
}

// put writes one entry and binds it to its lease and to no other.
func (s *Store) put(op metadata.Op, revision int64) metadata.Entry {
	old, ok := s.entries[op.Key]
	e := metadata.Entry{
		Key:      op.Key,
		Value:    bytes.Clone(op.Value),
		Created:  revision,
		Modified: revision,
		Lease:    op.Lease,
	}
	if ok {
		e.Created = old.Created
		s.unbind(old)
	} else {
		at, _ := slices.BinarySearch(s.keys, op.Key)
		s.keys = slices.Insert(s.keys, at, op.Key)
	}
	if l := s.leases[op.Lease]; l != nil {
		l.keys[op.Key] = struct{}{}
	}
	s.entries[op.Key] = e
	return e
}

// remove deletes one entry and says whether it was there.
func (s *Store) remove(key string) bool {
	old, ok := s.entries[key]
	if !ok {
		return false
	}
	s.unbind(old)
	delete(s.entries, key)
	at, _ := slices.BinarySearch(s.keys, key)
	s.keys = slices.Delete(s.keys, at, at+1)
	return true
}

// unbind takes an entry off its lease.
func (s *Store) unbind(e metadata.Entry) {
	if l := s.leases[e.Lease]; l != nil {
		delete(l.keys, e.Key)
	}
}

// clone gives a reader an entry that it may do with as it likes.
func clone(e metadata.Entry) metadata.Entry {
	e.Value = bytes.Clone(e.Value)
	return e
}

// history is what happened lately, as much of it as a feed holds.
type history struct {
	changes []change
	cost    int
	// compacted is the highest revision that is forgotten.
	compacted int64
}

// change is what one revision changed.
type change struct {
	revision int64
	events   []metadata.Event
	cost     int
}

// add appends a revision and forgets the oldest beyond the limit.
func (h *history) add(revision int64, events []metadata.Event) {
	c := change{revision, events, feed.Cost(events)}
	h.changes = append(h.changes, c)
	h.cost += c.cost
	for h.cost > feed.Limit {
		h.drop()
	}
}

// compact forgets everything below revision.
func (h *history) compact(revision int64) {
	for len(h.changes) > 0 && h.changes[0].revision < revision {
		h.drop()
	}
	h.compacted = max(h.compacted, revision-1)
}

// drop forgets the oldest revision.
func (h *history) drop() {
	h.cost -= h.changes[0].cost
	h.compacted = h.changes[0].revision
	h.changes[0] = change{} // lets its values go before the array does
	h.changes = h.changes[1:]
}

// since returns the changes after a revision that is not compacted.
func (h *history) since(after int64) []change {
	i, found := slices.BinarySearchFunc(h.changes, after, func(c change, revision int64) int {
		return int(c.revision - revision)
	})
	if found {
		i++
	}
	return h.changes[i:]
}
