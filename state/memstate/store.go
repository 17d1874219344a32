// Package memstate keeps actor state in the memory of one process, for tests.
// Nothing survives the process.
package memstate

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cajun-go/cajun/state"
)

// limits are those of etcdstate, so that what fits here in a test fits there.
var limits = state.Limits{Commits: 60, Rows: 120, Bytes: 1 << 20}

// Store is a state.Store that all nodes of a test cluster share. It starts no
// goroutine, reads no clock and copies what goes in and out, so it can be used
// inside and across testing/synctest bubbles.
type Store struct {
	mu      sync.Mutex
	closed  bool
	cluster string
	fences  map[state.Shard]state.Fence
	actors  map[state.Actor]*actor
	agendas map[state.Shard]*agendas
}

var _ state.Store = (*Store)(nil)

type actor struct {
	version uint64
	record  []byte
	rows    map[string][]byte
}

// New returns an empty store.
func New() *Store {
	return &Store{
		fences:  make(map[state.Shard]state.Fence),
		actors:  make(map[state.Actor]*actor),
		agendas: make(map[state.Shard]*agendas),
	}
}

// Bind implements state.Store.
func (s *Store) Bind(ctx context.Context, clusterID string) error {
	unlock, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	switch {
	case clusterID == "":
		return fmt.Errorf("%w: the cluster ID is empty", state.ErrInvalid)
	case s.cluster == "":
		s.cluster = clusterID
	case s.cluster != clusterID:
		return &state.ClusterError{Bound: s.cluster, Asked: clusterID}
	}
	return nil
}

// Seal implements state.Store.
func (s *Store) Seal(ctx context.Context, seals []state.Seal) []error {
	errs := make([]error, len(seals))
	unlock, err := s.enter(ctx)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	defer unlock()
	for i, seal := range seals {
		errs[i] = s.sealLocked(seal)
	}
	return errs
}

func (s *Store) sealLocked(seal state.Seal) error {
	if err := seal.Check(); err != nil {
		return err
	}
	current := s.fences[seal.Shard]
	if current.Epoch >= seal.Fence.Epoch && current != seal.Fence {
		return &state.FencedError{Shard: seal.Shard, Current: current}
	}
	s.fences[seal.Shard] = seal.Fence
	return nil
}

// Load implements state.Store.
func (s *Store) Load(ctx context.Context, a state.Actor, fence state.Fence) (state.Snapshot, error) {
	unlock, err := s.enter(ctx)
	if err != nil {
		return state.Snapshot{}, err
	}
	defer unlock()
	if err := a.Check(); err != nil {
		return state.Snapshot{}, err
	}
	if err := s.checkFenceLocked(a.Shard, fence); err != nil {
		return state.Snapshot{}, err
	}
	stored, ok := s.actors[a]
	if !ok {
		return state.Snapshot{}, nil
	}
	snap := state.Snapshot{Version: stored.version, Record: bytes.Clone(stored.record)}
	for name, value := range stored.rows {
		snap.Rows = append(snap.Rows, state.Row{Name: name, Value: bytes.Clone(value)})
	}
	slices.SortFunc(snap.Rows, func(a, b state.Row) int { return cmp.Compare(a.Name, b.Name) })
	return snap, nil
}

// Commit implements state.Store.
func (s *Store) Commit(ctx context.Context, commits []state.Commit) error {
	unlock, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := limits.Check(commits); err != nil {
		return err
	}
	for _, c := range commits {
		if err := s.checkFenceLocked(c.Actor.Shard, c.Fence); err != nil {
			return err
		}
		if s.versionLocked(c.Actor) != c.Version {
			return &state.ConflictError{Actor: c.Actor, Expected: c.Version}
		}
	}
	for _, c := range commits {
		s.applyLocked(c)
	}
	return nil
}

func (s *Store) applyLocked(c state.Commit) {
	a, ok := s.actors[c.Actor]
	if !ok {
		a = &actor{rows: make(map[string][]byte)}
		s.actors[c.Actor] = a
	}
	a.version++
	a.record = bytes.Clone(c.Record)
	for _, r := range c.Put {
		a.rows[r.Name] = bytes.Clone(r.Value)
	}
	for _, name := range c.Delete {
		delete(a.rows, name)
	}
	if c.Agenda != nil {
		s.writeAgendaLocked(c.Actor, *c.Agenda)
	}
}

// Limits implements state.Store.
func (s *Store) Limits() state.Limits { return limits }

// Close implements state.Store. The store is closed for everyone who shares
// it.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// enter takes the lock and returns its release, unless the store is closed or
// ctx has ended.
func (s *Store) enter(ctx context.Context) (unlock func(), err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, state.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("state: nothing was written: %w", err)
	}
	return s.mu.Unlock, nil
}

func (s *Store) checkFenceLocked(shard state.Shard, fence state.Fence) error {
	// A shard that was never sealed has no owner, so that not even the zero
	// fence may write to it.
	current, sealed := s.fences[shard]
	if !sealed || current != fence {
		return &state.FencedError{Shard: shard, Current: current}
	}
	return nil
}

func (s *Store) versionLocked(a state.Actor) uint64 {
	if stored, ok := s.actors[a]; ok {
		return stored.version
	}
	return 0
}
