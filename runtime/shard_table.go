package cajun

import "sync/atomic"

// shardTable holds the shards of one kind that this node serves. Looking one
// up takes no lock: every call does it.
type shardTable struct{ slots []atomic.Pointer[shard] }

func newShardTable(n int) shardTable { return shardTable{make([]atomic.Pointer[shard], n)} }

func (t shardTable) len() int { return len(t.slots) }

// get returns the shard with this number, or nil when it is not served here.
func (t shardTable) get(n uint32) *shard { return t.slots[n].Load() }

func (t shardTable) put(n uint32, s *shard) { t.slots[n].Store(s) }

// remove forgets s, unless a newer ownership has taken its place.
func (t shardTable) remove(n uint32, s *shard) { t.slots[n].CompareAndSwap(s, nil) }

// all calls yield for each shard that is served here.
func (t shardTable) all(yield func(*shard) bool) {
	for i := range t.slots {
		if s := t.slots[i].Load(); s != nil && !yield(s) {
			return
		}
	}
}
