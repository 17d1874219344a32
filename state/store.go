// Package state is what outlives nodes: the records of actors, written in
// atomic commits that a fence per shard protects from owners of the past.
//
// The package holds the contract. etcdstate keeps it with etcd, memstate in
// the memory of one process, and statetest is the suite that every
// implementation passes.
package state

import (
	"context"
	"errors"
	"fmt"
)

var (
	// ErrClosed says that the store was closed; nothing was written.
	ErrClosed = errors.New("state: the store is closed")
	// ErrTooLarge says that a commit is over the store's limits; nothing was
	// written.
	ErrTooLarge = errors.New("state: the commit is larger than the store takes")
	// ErrInvalid says that a caller broke a rule of this package, such as an
	// empty key; nothing was written. Repeating the call does not help.
	ErrInvalid = errors.New("state: invalid request")
)

// A Store holds the durable part of actors. Its methods are safe for
// concurrent use and return soon after their context ends.
//
// Safety rests on two promises. A commit takes effect only while its fence
// equals the stored fence of its shard. And once Seal has returned, no commit
// under an older fence ever becomes visible, not even one that was already on
// its way.
type Store interface {
	// Bind ties the store to a cluster. The first call remembers clusterID; a
	// later call with another ID fails with a *ClusterError, as two clusters
	// over one store would fence each other.
	Bind(ctx context.Context, clusterID string) error
	// Seal raises the fences of shards, all of one kind and one new owner. It
	// succeeds for a shard whose stored fence has a lower epoch or is equal to
	// the new one (so that it can be repeated), and is refused otherwise. The
	// result has an entry per request, in order: nil; a *FencedError,
	// ErrInvalid or ErrClosed, when it was not raised; or an error that leaves
	// open whether it was. Shards are decided one by one.
	Seal(ctx context.Context, seals []Seal) []error
	// Load returns what is stored of an actor, as of one moment, or a
	// *FencedError when fence is not the stored fence of its shard. An actor
	// that was never written has a zero Snapshot. The result is the caller's.
	Load(ctx context.Context, actor Actor, fence Fence) (Snapshot, error)
	// Commit applies all given commits at once, or none. No actor may appear
	// twice. A *FencedError or a *ConflictError names the first commit that was
	// refused; nothing was written then. ErrTooLarge, ErrInvalid and ErrClosed
	// also mean that nothing was written. After any other error the commits may
	// have been applied, or may still be; the store never sends them twice.
	Commit(ctx context.Context, commits []Commit) error
	// Agenda lists the agendas of a shard's actors in the order of their keys,
	// those after the key after (all with ""), limit at most; fewer than limit
	// says that there are no more. It sees every commit that was applied before
	// it was called, and checks no fence: an owner reads it after Seal.
	Agenda(ctx context.Context, shard Shard, after string, limit int) ([]Entry, error)
	// Limits tells how much one Commit call takes.
	Limits() Limits
	// Close releases what the store holds. Later calls fail with ErrClosed;
	// calls under way may still take effect.
	Close() error
}

// Shard names a shard of a kind.
type Shard struct {
	// Kind is the kind's identity, a full proto name: 1 to 256 bytes of UTF-8
	// without a slash.
	Kind   string
	Number uint32
}

// String returns "kind/number".
func (s Shard) String() string { return fmt.Sprintf("%s/%d", s.Kind, s.Number) }

// Fence is the right to write to a shard: an epoch and the session that holds
// it. Epochs start at 1.
type Fence struct {
	Epoch uint64
	// Session is 1 to 256 bytes.
	Session string
}

// Seal asks for a shard's fence to be raised to Fence.
type Seal struct {
	Shard Shard
	Fence Fence
}

// Actor names one actor.
type Actor struct {
	Shard Shard
	// Key is the actor's key: UTF-8, 1 to 512 bytes.
	Key string
}

// Snapshot is what is stored of an actor.
type Snapshot struct {
	// Version counts the commits of this actor; 0 means none yet.
	Version uint64
	// Record is the actor's own row, and Rows the rows beside it, in order of
	// their names.
	Record []byte
	Rows   []Row
}

// Row is a named value beside an actor's record.
type Row struct {
	// Name is unique per actor: 1 to 1024 bytes of any kind.
	Name  string
	Value []byte
}

// Commit is one atomic step of one actor.
type Commit struct {
	Actor Actor
	Fence Fence
	// Version is what the actor's version must be now; it becomes Version+1.
	Version uint64
	// Record replaces the actor's record. It is always written.
	Record []byte
	// Put and Delete change rows beside the record. No name may appear twice.
	Put    []Row
	Delete []string
	// Agenda replaces the actor's agenda, if it is not nil; the zero Agenda
	// removes it. It counts as a row.
	Agenda *Agenda
}

// Agenda is what an actor's owner has to see to although nobody calls the
// actor. The store lists the agendas of a shard, so that a new owner finds them
// without looking at all actors.
type Agenda struct {
	// Due is when the actor needs its owner next, in Unix milliseconds; 0 is
	// never.
	Due int64
	// Dead counts the actor's dead letters.
	Dead uint32
}

// Entry is the agenda of one actor.
type Entry struct {
	// Key is the actor's key.
	Key    string
	Agenda Agenda
}

// Limits is what one Commit call takes. A caller splits what is larger.
type Limits struct {
	// Commits is the largest number of commits, and Rows the largest number of
	// rows that they put and delete together, agendas counted and records not.
	Commits, Rows int
	// Bytes is the largest sum of keys, names and values; see Commit.Size.
	Bytes int
}

// FencedError says that a shard has another fence than the caller's. Nothing
// was written.
type FencedError struct {
	Shard Shard
	// Current is the stored fence; zero when the shard was never sealed.
	Current Fence
}

func (e *FencedError) Error() string {
	if e.Current == (Fence{}) {
		return fmt.Sprintf("state: shard %s was never sealed: seal it first", e.Shard)
	}
	return fmt.Sprintf("state: shard %s is fenced: epoch %d of session %q holds it", e.Shard, e.Current.Epoch, e.Current.Session)
}

// ConflictError says that an actor's version is not the expected one. Nothing
// was written.
type ConflictError struct {
	Actor Actor
	// Expected is what the commit asked for.
	Expected uint64
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("state: actor %q of shard %s is not at version %d", e.Actor.Key, e.Actor.Shard, e.Expected)
}

// ClusterError says that the store belongs to another cluster.
type ClusterError struct {
	Bound, Asked string
}

func (e *ClusterError) Error() string {
	return fmt.Sprintf("state: the store belongs to cluster %q, not to %q: give each cluster its own store or prefix", e.Bound, e.Asked)
}
