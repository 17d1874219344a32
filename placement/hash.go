package placement

import "github.com/cespare/xxhash/v2"

// HashName names the function behind ShardOf in a kind's record. A node that
// knows another function for a kind would look for actors in other shards, so
// it is refused.
const HashName = "xxhash64"

// MaxShards is the largest number of shards of a kind. Every node keeps a
// record per claimed shard in memory.
const MaxShards = 1 << 16

// ShardOf returns the shard of a key in a kind that has this many shards (1 or
// more): the xxhash64 of its bytes, modulo shards.
func ShardOf(key string, shards int) uint32 {
	return uint32(xxhash.Sum64String(key) % uint64(shards))
}
