// Package metadata is what the nodes of a cluster agree on: a small
// linearizable key-value store with leases, watches and transactions. The
// cluster keeps its members, its leader and its shard records there.
//
// The package holds the contract. etcdmeta keeps it with etcd, memmeta in the
// memory of one process, and metatest is the suite that every implementation
// passes.
package metadata

import (
	"context"
	"errors"
	"time"
)

// MaxTxn is how many conditions, and how many operations, every store takes
// in one transaction.
const MaxTxn = 120

var (
	// ErrLeaseGone says that a lease has expired or was revoked.
	ErrLeaseGone = errors.New("metadata: the lease is gone: it expired or was revoked")
	// ErrCompacted says that a watch asked for history that the store no
	// longer has; list again and watch from there.
	ErrCompacted = errors.New("metadata: the watch fell behind the store's history: list again")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("metadata: the store is closed")
)

// A Store is shared by all nodes of a cluster. Its methods are safe for
// concurrent use, and every read is linearizable.
//
// An error of a writing method (Commit, Grant, Revoke) other than ErrClosed
// and ErrLeaseGone leaves open whether the write took effect. Every method
// returns soon after its context ends, with an error that matches the
// context's; a context without a deadline may wait for an unreachable store
// forever.
type Store interface {
	// Get returns the entry under key and reports whether there is one.
	Get(ctx context.Context, key string) (Entry, bool, error)
	// List returns every entry whose key starts with prefix, in key order, as
	// of one revision.
	List(ctx context.Context, prefix string) (Snapshot, error)
	// Commit applies all operations of t at one revision when all its
	// conditions hold, and none otherwise. A put that is bound to a lease that
	// is gone fails with ErrLeaseGone and applies nothing; when the conditions do
	// not hold, leases do not matter. What Txn.Validate refuses is refused.
	Commit(ctx context.Context, t Txn) (Result, error)
	// Watch reports the changes under prefix with revisions above after, in
	// order and without gaps; changes of one revision arrive in one Batch. The
	// channel is closed after a Batch with an error, and when ctx ends. The
	// reader must keep reading: it never holds up the store, but one that falls
	// far behind gets ErrCompacted.
	Watch(ctx context.Context, prefix string, after int64) <-chan Batch
	// Grant makes a lease that ends ttl after its last renewal. Stores may
	// round ttl up to whole seconds; the granted value is in the Lease.
	Grant(ctx context.Context, ttl time.Duration) (Lease, error)
	// KeepAlive renews a lease once, or returns ErrLeaseGone.
	KeepAlive(ctx context.Context, id LeaseID) error
	// Revoke ends a lease and deletes the entries bound to it. Revoking a lease
	// that is gone is no error.
	Revoke(ctx context.Context, id LeaseID) error
	// Close releases what the store holds, and ends watches with ErrClosed.
	// Leases are left to expire. Closing twice is no error.
	Close() error
}

// LeaseID names a lease; 0 is no lease.
type LeaseID int64

// Lease is a granted lease.
type Lease struct {
	ID  LeaseID
	TTL time.Duration
}

// Entry is one key with its value.
type Entry struct {
	Key   string
	Value []byte
	// Created is the revision that brought the key into being, and Modified
	// the revision of its latest put. Revisions count upwards over the whole
	// store.
	Created, Modified int64
	// Lease is what the entry is bound to, if anything.
	Lease LeaseID
}

// Snapshot is the result of a List.
type Snapshot struct {
	Entries  []Entry
	Revision int64
}

// Txn is a conditional write of at most MaxTxn conditions and operations.
type Txn struct {
	If   []Cond
	Then []Op
}

// Cond is a condition on one key. Use Absent, Present, CreatedAt or
// ModifiedAt to make one.
type Cond struct {
	Kind     CondKind
	Key      string
	Revision int64
}

// CondKind says what a Cond compares.
type CondKind uint8

// The kinds of conditions.
const (
	CondAbsent CondKind = iota + 1
	CondPresent
	CondCreatedAt
	CondModifiedAt
)

// Absent holds while there is no such key.
func Absent(key string) Cond { return Cond{Kind: CondAbsent, Key: key} }

// Present holds while the key exists.
func Present(key string) Cond { return Cond{Kind: CondPresent, Key: key} }

// CreatedAt holds while the key exists since exactly this revision, which
// tells one life of the key from a later one. No key exists since revision 0.
func CreatedAt(key string, revision int64) Cond {
	return Cond{Kind: CondCreatedAt, Key: key, Revision: revision}
}

// ModifiedAt holds while the key's latest put is the one of this revision.
func ModifiedAt(key string, revision int64) Cond {
	return Cond{Kind: CondModifiedAt, Key: key, Revision: revision}
}

// Unchanged holds while key is as e shows it: e is what a read returned, and
// found says whether there was an entry.
func Unchanged(key string, e Entry, found bool) Cond {
	if !found {
		return Absent(key)
	}
	return ModifiedAt(key, e.Modified)
}

// Op is one write. Use Put or Delete to make one.
type Op struct {
	Key    string
	Value  []byte
	Lease  LeaseID
	Delete bool
}

// Put writes value under key, bound to a lease, or to none when lease is 0.
func Put(key string, value []byte, lease LeaseID) Op {
	return Op{Key: key, Value: value, Lease: lease}
}

// Delete removes key, if it exists.
func Delete(key string) Op { return Op{Key: key, Delete: true} }

// Result is the outcome of a Commit.
type Result struct {
	// Applied says whether the conditions held.
	Applied bool
	// Revision is the store's revision after the transaction.
	Revision int64
}

// Batch is what a watch delivers: the changes of one or more revisions, the
// mere news that there were none up to Revision, or an error after which the
// channel is closed.
type Batch struct {
	Events []Event
	// Revision is the highest revision that the batch is known to be complete
	// for: at least that of its last event. The store's may be higher, as
	// changes under other prefixes are not reported.
	Revision int64
	Err      error
}

// Event is one change of one key.
type Event struct {
	// Entry is the new entry; of a deleted one, only Key and Modified (the
	// revision of the deletion) are set.
	Entry   Entry
	Deleted bool
}
