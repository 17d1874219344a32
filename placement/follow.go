package placement

import (
	"maps"
	"slices"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

// kindFollower feeds a table with kinds.
type kindFollower struct{ t *Table }

func (f kindFollower) Reset(snap metadata.Snapshot) {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	kinds := make(map[string]*kindTable)
	for _, e := range snap.Entries {
		f.t.putKindLocked(kinds, e)
	}
	f.t.publishKindsLocked(kinds)
}

func (f kindFollower) Apply(b metadata.Batch) {
	if len(b.Events) == 0 {
		return
	}
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	kinds := maps.Clone(f.t.kinds.Load().byIdentity)
	for _, ev := range b.Events {
		if !ev.Deleted {
			f.t.putKindLocked(kinds, ev.Entry)
		} else if identity, ok := f.t.space.ParseKind(ev.Entry.Key); ok {
			delete(kinds, identity)
		}
	}
	f.t.publishKindsLocked(kinds)
}

// putKindLocked adds the kind of an entry, with the records that are known of
// it.
func (t *Table) putKindLocked(kinds map[string]*kindTable, e metadata.Entry) {
	identity, ok := t.space.ParseKind(e.Key)
	if !ok {
		return // the guard of Register
	}
	stored, err := decodeKind(e)
	if err != nil {
		t.log.Error("a kind is left out", "error", err)
		return
	}
	k := &kindTable{info: kindInfo(identity, stored)}
	if old := t.kinds.Load().byIdentity[identity]; old != nil && old.info.Shards == k.info.Shards {
		k.shards = old.shards
	} else {
		k.shards = newShardTable(k.info.Shards)
	}
	kinds[identity] = k
}

func kindInfo(identity string, stored *statev1.Kind) KindInfo {
	names := stored.GetNames()
	if !slices.Contains(names, identity) {
		names = append([]string{identity}, names...)
	}
	return KindInfo{Identity: identity, Names: names, Shards: int(stored.GetShards())}
}

func (t *Table) publishKindsLocked(kinds map[string]*kindTable) {
	index := &kindIndex{byIdentity: kinds, byName: make(map[string]*kindTable)}
	for _, k := range kinds {
		for _, name := range k.info.Names {
			index.byName[name] = k
		}
	}
	t.kinds.Store(index)
	for s, r := range t.strays {
		if k := kinds[s.Kind]; k != nil {
			k.shards.set(s.Number, r, r.Modified)
			delete(t.strays, s)
		}
	}
	t.changedLocked()
}

// shardFollower feeds a table with shard records.
type shardFollower struct{ t *Table }

func (f shardFollower) Reset(snap metadata.Snapshot) {
	t := f.t
	events := make([]metadata.Event, 0, len(snap.Entries))
	listed := make(map[state.Shard]bool, len(snap.Entries))
	for _, e := range snap.Entries {
		events = append(events, metadata.Event{Entry: e})
		if identity, n, ok := t.space.ParseShard(e.Key); ok {
			listed[state.Shard{Kind: identity, Number: n}] = true
		}
	}
	for _, k := range t.kinds.Load().byIdentity {
		for n := range k.shards.records {
			s := state.Shard{Kind: k.info.Identity, Number: uint32(n)}
			r := k.shards.records[n].Load()
			if r != nil && !listed[s] {
				// Unless it is newer than the list: then it was learnt of elsewhere.
				gone := metadata.Entry{Key: t.space.Shard(s.Kind, s.Number), Modified: snap.Revision + 1}
				events = append(events, metadata.Event{Entry: gone, Deleted: true})
			}
		}
	}
	f.Apply(metadata.Batch{Events: events, Revision: snap.Revision})
}

func (f shardFollower) Apply(b metadata.Batch) {
	t := f.t
	var news []state.Shard
	t.mu.Lock()
	for _, ev := range b.Events {
		identity, n, ok := t.space.ParseShard(ev.Entry.Key)
		if !ok {
			t.log.Error("a key among the shards names none", "key", ev.Entry.Key)
			continue
		}
		s := state.Shard{Kind: identity, Number: n}
		var record *Record
		if !ev.Deleted {
			r, err := Decode(ev.Entry)
			if err != nil {
				t.log.Error("a shard is taken for unclaimed", "error", err)
			} else {
				record = &r
			}
		}
		if t.setLocked(s, record, ev.Entry.Modified) {
			news = append(news, s)
		}
	}
	t.revision = max(t.revision, b.Revision)
	observe := t.observe
	t.mu.Unlock()
	if observe != nil {
		for _, s := range news {
			observe(s)
		}
	}
}
