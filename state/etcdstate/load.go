package etcdstate

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/state"
)

// Load implements state.Store. The fence is compared in the transaction that
// reads, and the read is linearizable: whoever holds the fence sees every
// commit that was applied before its seal.
func (s *Store) Load(ctx context.Context, actor state.Actor, fence state.Fence) (state.Snapshot, error) {
	if s.closed.Load() {
		return state.Snapshot{}, state.ErrClosed
	}
	if err := actor.Check(); err != nil {
		return state.Snapshot{}, err
	}
	fenceKey, record := s.keys.fence(actor.Shard), s.keys.record(actor)
	resp, err := s.send(ctx, clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.Value(fenceKey), "=", encodeFence(fence))},
		[]clientv3.Op{clientv3.OpGet(record, clientv3.WithRange(endOfActor(record)))},
		[]clientv3.Op{clientv3.OpGet(fenceKey)}))
	if err != nil {
		return state.Snapshot{}, fmt.Errorf("state: an actor of shard %s could not be loaded: %w", actor.Shard, err)
	}
	found := resp.Responses[0].GetResponseRange()
	if !resp.Succeeded {
		return state.Snapshot{}, fenced(actor.Shard, value(found))
	}
	var snap state.Snapshot
	for _, kv := range found.Kvs {
		name := string(kv.Key[len(record):])
		if name == "" {
			snap.Version, snap.Record = uint64(kv.Version), kv.Value
			continue
		}
		snap.Rows = append(snap.Rows, state.Row{Name: name, Value: kv.Value})
	}
	return snap, nil
}

// fenced is the error for a shard whose stored fence, nil when it has none, is
// not the caller's.
func fenced(shard state.Shard, stored []byte) error {
	if stored == nil {
		return &state.FencedError{Shard: shard}
	}
	current, err := decodeFence(stored)
	if err != nil {
		return err
	}
	return &state.FencedError{Shard: shard, Current: current}
}
