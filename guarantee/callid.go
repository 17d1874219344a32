package guarantee

import (
	"fmt"
	"strings"
)

// CallID names one call across all its attempts. It is either a caller with that
// caller's running number, or a key of the caller's own choice. A key is scoped
// by actor and method; the zero CallID names nothing.
type CallID struct {
	// Session is the caller: a node's session, or for what actors send a shard
	// of theirs, see ShardCaller.
	Session string
	// Sequence counts the calls of Session, over all targets, from 1.
	Sequence uint64
	// Part tells calls apart that share a sequence: those of one turn.
	Part uint64
	// Key is the caller's own idempotency key. When set, the call keeps its
	// identity across sessions.
	Key string
}

// IsZero reports whether the call has no identity.
func (c CallID) IsZero() bool { return c == CallID{} }

// String returns a form for logs.
func (c CallID) String() string {
	switch {
	case c.Key != "":
		return fmt.Sprintf("key:%q", c.Key)
	case c.Part != 0:
		return fmt.Sprintf("%s#%d.%x", c.Session, c.Sequence, c.Part)
	case c.Session != "":
		return fmt.Sprintf("%s#%d", c.Session, c.Sequence)
	}
	return ""
}

// shardPrefix begins the names of callers that are shards. No session begins so.
const shardPrefix = "@"

// ShardCaller names a shard of a kind as the caller of what its actors send:
// durable messages and nested calls outlive the session that made them, so they
// are numbered by what outlives it, too.
func ShardCaller(kind string, number uint32) string {
	return fmt.Sprintf("%s%s/%d", shardPrefix, kind, number)
}

// TurnCaller names a shard as the caller of what its actors call in the middle
// of a turn, apart from ShardCaller: a turn may take long, and messages need not
// wait for it.
func TurnCaller(kind string, number uint32) string { return ShardCaller(kind, number) + "/turns" }

// IsShardCaller reports whether a caller is a shard and no session.
func IsShardCaller(caller string) bool { return strings.HasPrefix(caller, shardPrefix) }

// Sequences of a shard begin with the epoch of the ownership that gave them
// out, so that those of every owner are above all of the owners before.
const sequenceBits = 40

// FirstSequence returns the first sequence of an ownership. A shard may change
// hands 16 million times, and one owner may send a trillion messages.
func FirstSequence(epoch uint64) uint64 { return epoch<<sequenceBits + 1 }
