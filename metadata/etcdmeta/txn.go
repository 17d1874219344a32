package etcdmeta

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/metadata"
)

// Commit implements metadata.Store. The client sends a write once, and again
// only when it certainly did not leave this process.
func (s *Store) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	if err := t.Validate(); err != nil {
		return metadata.Result{}, err
	}
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return metadata.Result{}, err
	}
	defer done()
	resp, err := s.once.Txn(ctx).If(compares(t.If)...).Then(operations(t)...).Commit()
	if err != nil {
		return metadata.Result{}, failed(ctx, "commit", err)
	}
	return metadata.Result{Applied: resp.Succeeded, Revision: resp.Header.GetRevision()}, nil
}

// compares translates conditions.
func compares(conds []metadata.Cond) []clientv3.Cmp {
	cmps := make([]clientv3.Cmp, len(conds))
	for i, c := range conds {
		created := clientv3.CreateRevision(c.Key)
		switch c.Kind {
		case metadata.CondAbsent:
			cmps[i] = clientv3.Compare(created, "=", 0)
		case metadata.CondPresent:
			cmps[i] = clientv3.Compare(created, ">", 0)
		case metadata.CondCreatedAt:
			cmps[i] = atRevision(created, c.Revision)
		case metadata.CondModifiedAt:
			cmps[i] = atRevision(clientv3.ModRevision(c.Key), c.Revision)
		}
	}
	return cmps
}

// atRevision compares with a revision of an existing key. To etcd an absent
// key has revision 0, which would make a condition on revision 0 hold; no
// revision is below 0, so that one never does.
func atRevision(target clientv3.Cmp, revision int64) clientv3.Cmp {
	if revision <= 0 {
		return clientv3.Compare(target, "<", 0)
	}
	return clientv3.Compare(target, "=", revision)
}

// operations translates what t does.
func operations(t metadata.Txn) []clientv3.Op {
	if len(t.Then) == 0 {
		// Without an operation etcd may evaluate the conditions on a member
		// that lags behind. A read that wants to be linearizable keeps it from
		// that; the key does not matter.
		return []clientv3.Op{clientv3.OpGet("\x00", clientv3.WithCountOnly())}
	}
	ops := make([]clientv3.Op, len(t.Then))
	for i, op := range t.Then {
		if op.Delete {
			ops[i] = clientv3.OpDelete(op.Key)
		} else {
			ops[i] = clientv3.OpPut(op.Key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Lease)))
		}
	}
	return ops
}
