package etcdstate

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/state"
)

// maxSeals is how many shards one transaction seals. Each is a transaction
// nested in it, and etcd wants the operations of all levels on a path to be no
// more than 128 together.
const maxSeals = 100

// Seal implements state.Store. It takes one round trip per 100 shards,
// whatever their fences are, as each shard is decided by itself inside etcd.
// The groups are separate transactions: a failure of one leaves the results
// of the others as they are.
func (s *Store) Seal(ctx context.Context, seals []state.Seal) []error {
	errs := make([]error, len(seals))
	var group []int
	inGroup := make(map[state.Shard]bool)
	flush := func() {
		s.sealGroup(ctx, seals, group, errs)
		group = group[:0]
		clear(inGroup)
	}
	for i, seal := range seals {
		if s.closed.Load() {
			errs[i] = state.ErrClosed
			continue
		}
		if errs[i] = seal.Check(); errs[i] != nil {
			continue
		}
		// etcd takes a key once per transaction.
		if len(group) == maxSeals || inGroup[seal.Shard] {
			flush()
		}
		group = append(group, i)
		inGroup[seal.Shard] = true
	}
	flush()
	return errs
}

// sealGroup sends the seals that group points at, and sets their errors.
func (s *Store) sealGroup(ctx context.Context, seals []state.Seal, group []int, errs []error) {
	if len(group) == 0 {
		return
	}
	ops := make([]clientv3.Op, len(group))
	for n, i := range group {
		ops[n] = s.sealOp(seals[i])
	}
	resp, err := s.send(ctx, clientv3.OpTxn(nil, ops, nil))
	for n, i := range group {
		if err != nil {
			errs[i] = fmt.Errorf("state: the fence of shard %s may or may not be raised to epoch %d: %w",
				seals[i].Shard, seals[i].Fence.Epoch, err)
			continue
		}
		errs[i] = sealResult(seals[i], resp.Responses[n].GetResponseTxn())
	}
}

// sealOp raises a fence that is lower or absent, and reads any other. Absence
// is a case of its own because comparing the value of an absent key is false
// whatever the comparison.
func (s *Store) sealOp(seal state.Seal) clientv3.Op {
	key := s.keys.fence(seal.Shard)
	put := []clientv3.Op{clientv3.OpPut(key, encodeFence(seal.Fence))}
	lower := clientv3.Compare(clientv3.Value(key), "<", encodeEpoch(seal.Fence.Epoch))
	return clientv3.OpTxn([]clientv3.Cmp{lower}, put, []clientv3.Op{
		clientv3.OpTxn([]clientv3.Cmp{absent(key)}, put, []clientv3.Op{clientv3.OpGet(key)}),
	})
}

func sealResult(seal state.Seal, lower *pb.TxnResponse) error {
	if lower.Succeeded {
		return nil
	}
	created := lower.Responses[0].GetResponseTxn()
	if created.Succeeded {
		return nil
	}
	current, err := decodeFence(value(created.Responses[0].GetResponseRange()))
	switch {
	case err != nil:
		return err
	case current != seal.Fence:
		return &state.FencedError{Shard: seal.Shard, Current: current}
	}
	return nil
}

// value is the value of a read that asked for one key, or nil.
func value(r *pb.RangeResponse) []byte {
	if len(r.Kvs) == 0 {
		return nil
	}
	return r.Kvs[0].Value
}
