package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cajun-go/cajun/metadata"
)

// Snapshot is who was a member at one revision. It is immutable.
type Snapshot struct {
	members    map[string]Member
	live       []Member
	revision   int64
	generation uint64
	// changed is closed when other members are known, advanced also when only
	// the revision rose.
	changed, advanced chan struct{}
}

// Get returns the member with this session and whether there is one.
func (s *Snapshot) Get(session string) (Member, bool) {
	m, ok := s.members[session]
	return m, ok
}

// Live returns all members, the oldest first. The slice is shared: do not
// change it.
func (s *Snapshot) Live() []Member { return s.live }

// Revision is the revision of the store up to which the snapshot is complete.
func (s *Snapshot) Revision() int64 { return s.revision }

// Generation counts the changes of the members that this view has seen.
func (s *Snapshot) Generation() uint64 { return s.generation }

// View is a node's picture of the members, kept up to date from the metadata
// store. It lags behind the store by the way of a message; where that matters,
// use a condition in a transaction, or Sync. Its methods are safe for
// concurrent use.
type View struct {
	store metadata.Store
	space metadata.Space
	log   *slog.Logger

	mu       sync.Mutex // writers of snapshot
	snapshot atomic.Pointer[Snapshot]

	stop context.CancelFunc
	done chan struct{}
}

// NewView returns a view that shows the members already, and follows them until
// Close. ctx bounds the loading only. A nil logger discards.
func NewView(ctx context.Context, store metadata.Store, space metadata.Space, logger *slog.Logger) (*View, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	v := &View{store: store, space: space, log: logger, done: make(chan struct{})}
	v.snapshot.Store(&Snapshot{changed: make(chan struct{}), advanced: make(chan struct{})})
	if err := v.Refresh(ctx); err != nil {
		return nil, err
	}
	followCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop = stop
	go func() {
		defer close(v.done)
		metadata.Follow(followCtx, store, space.Members(), follower{v}, logger)
	}()
	return v, nil
}

// Close stops following and waits until that has stopped. The view goes on
// showing what it knew last.
func (v *View) Close() {
	v.stop()
	<-v.done
}

// Snapshot returns the members as the view knows them now.
func (v *View) Snapshot() *Snapshot { return v.snapshot.Load() }

// Get returns the member with this session and whether there is one.
func (v *View) Get(session string) (Member, bool) { return v.Snapshot().Get(session) }

// Live returns all members, the oldest first. The slice is shared: do not
// change it.
func (v *View) Live() []Member { return v.Snapshot().live }

// Revision is the revision of the store up to which the view is complete.
func (v *View) Revision() int64 { return v.Snapshot().revision }

// Generation counts the changes of the members that the view has seen.
func (v *View) Generation() uint64 { return v.Snapshot().generation }

// Changed returns a channel that is closed at the next change of the members.
// Ask for it before reading the view, so that no change falls in between.
func (v *View) Changed() <-chan struct{} { return v.Snapshot().changed }

// Wait returns the first snapshot, beginning with the current one, that meets
// the condition, or an error when ctx or the view ends first. The condition is
// asked at each change of the members or of the revision.
func (v *View) Wait(ctx context.Context, condition func(*Snapshot) bool) (*Snapshot, error) {
	for {
		snap := v.Snapshot()
		if condition(snap) {
			return snap, nil
		}
		select {
		case <-snap.advanced:
		case <-v.done:
			return nil, errors.New("member: the view was closed")
		case <-ctx.Done():
			return nil, fmt.Errorf("member: waiting for a change of the members: %w", context.Cause(ctx))
		}
	}
}

// Sync returns a snapshot that is complete up to revision. When the view is not
// yet, it asks the store rather than wait for a change that may never come.
func (v *View) Sync(ctx context.Context, revision int64) (*Snapshot, error) {
	if snap := v.Snapshot(); snap.revision >= revision {
		return snap, nil
	}
	if err := v.Refresh(ctx); err != nil {
		return nil, err
	}
	snap := v.Snapshot()
	if snap.revision < revision {
		return nil, fmt.Errorf("member: the metadata store is at revision %d and knows no %d: was it restored from a backup while nodes ran?", snap.revision, revision)
	}
	return snap, nil
}

// Refresh lists the members. When it returns nil the view is at least as recent
// as the call of Refresh, however far it was behind the store.
func (v *View) Refresh(ctx context.Context) error {
	listed, err := v.store.List(ctx, v.space.Members())
	if err != nil {
		return fmt.Errorf("member: cannot list the members: %w", err)
	}
	v.reset(listed)
	return nil
}

// follower feeds the view from metadata.Follow.
type follower struct{ v *View }

func (f follower) Reset(snap metadata.Snapshot) { f.v.reset(snap) }
func (f follower) Apply(b metadata.Batch)       { f.v.apply(b) }

// reset replaces the members, unless the view is further already: lists of
// refresh and of the follower cross.
func (v *View) reset(listed metadata.Snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.snapshot.Load()
	if old.generation > 0 && listed.Revision < old.revision {
		return
	}
	members := make(map[string]Member, len(listed.Entries))
	for _, e := range listed.Entries {
		v.put(members, e)
	}
	same := old.generation > 0 && maps.EqualFunc(members, old.members, func(a, b Member) bool { return a.Modified == b.Modified })
	v.publish(old, members, listed.Revision, same)
}

// apply adds a batch. Events that a refresh has brought already are skipped.
func (v *View) apply(b metadata.Batch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.snapshot.Load()
	if b.Revision <= old.revision {
		return
	}
	members, same := old.members, true
	for _, ev := range b.Events {
		session, ok := v.space.ParseMember(ev.Entry.Key)
		if !ok || ev.Entry.Modified <= old.revision {
			continue
		}
		if same {
			members, same = maps.Clone(old.members), false
		}
		if ev.Deleted {
			delete(members, session)
		} else {
			v.put(members, ev.Entry)
		}
	}
	v.publish(old, members, b.Revision, same)
}

// publish replaces old. same says that only the revision is new.
func (v *View) publish(old *Snapshot, members map[string]Member, revision int64, same bool) {
	next := &Snapshot{
		members:    old.members,
		live:       old.live,
		revision:   revision,
		generation: old.generation,
		changed:    old.changed,
		advanced:   make(chan struct{}),
	}
	if !same {
		next.members = members
		next.live = slices.SortedFunc(maps.Values(members), Older)
		next.generation++
		next.changed = make(chan struct{})
	}
	v.snapshot.Store(next)
	close(old.advanced)
	if !same {
		close(old.changed)
	}
}

// put adds the member of an entry. A record that cannot be read still is a
// life: its session may call, and its shards are no orphans. It just cannot be
// counted on for anything.
func (v *View) put(members map[string]Member, e metadata.Entry) {
	session, ok := v.space.ParseMember(e.Key)
	if !ok {
		v.log.Error("a key among the members names no session", "key", e.Key)
		return
	}
	m, err := Decode(session, e)
	if err != nil {
		v.log.Error("a member is taken for one that only calls", "error", err)
		m = Member{Session: session, ClientOnly: true, Created: e.Created, Modified: e.Modified, Lease: e.Lease}
	}
	members[session] = m
}

// Older orders members by age, then by session.
func Older(a, b Member) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Session, b.Session))
}
