// Package etcdstate keeps actor state in etcd.
//
// Every method sends one etcd transaction, and Seal one per 100 shards. No
// transaction that may have been applied is sent again.
package etcdstate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cajun-go/cajun/internal/etcdonce"
	"github.com/cajun-go/cajun/state"
)

// maxPrefix bounds the prefix in bytes, as it is part of every key.
const maxPrefix = 128

// Store is a state.Store in etcd.
type Store struct {
	kv     clientv3.KV
	keys   keyspace
	closed atomic.Bool
}

var _ state.Store = (*Store)(nil)

// New returns the store under prefix, such as "/cajun/prod/": at most 128
// bytes that end with a slash. It sends nothing. The client stays the
// caller's, who closes it after the store. Its connection is used directly, so
// a wrapper that was put around client.KV has no effect here.
//
// A client with a gRPC retry policy of its own (by Config.DialOptions) must
// not repeat etcdserverpb.KV/Txn: a commit that is applied and then repeated
// would be reported as a conflict.
func New(client *clientv3.Client, prefix string) (*Store, error) {
	switch {
	case client == nil:
		return nil, errors.New("state: etcdstate.New needs an etcd client")
	case !strings.HasSuffix(prefix, "/") || len(prefix) > maxPrefix:
		return nil, fmt.Errorf(`state: prefix %q: use one like "/cajun/prod/", at most %d bytes and ending with a slash`, prefix, maxPrefix)
	}
	return newStore(etcdonce.KV(client), prefix), nil
}

func newStore(kv clientv3.KV, prefix string) *Store {
	return &Store{kv: kv, keys: keyspace(prefix)}
}

// Bind implements state.Store. The cluster's ID is kept under
// "<prefix>state-cluster".
func (s *Store) Bind(ctx context.Context, clusterID string) error {
	if s.closed.Load() {
		return state.ErrClosed
	}
	if clusterID == "" {
		return fmt.Errorf("%w: the cluster ID is empty", state.ErrInvalid)
	}
	key := s.keys.cluster()
	resp, err := s.send(ctx, clientv3.OpTxn(
		[]clientv3.Cmp{absent(key)},
		[]clientv3.Op{clientv3.OpPut(key, clusterID)},
		[]clientv3.Op{clientv3.OpGet(key)}))
	if err != nil {
		return fmt.Errorf("state: the store may or may not be bound to cluster %q: %w", clusterID, err)
	}
	if resp.Succeeded {
		return nil
	}
	if bound := string(value(resp.Responses[0].GetResponseRange())); bound != clusterID {
		return &state.ClusterError{Bound: bound, Asked: clusterID}
	}
	return nil
}

// Close implements state.Store. The etcd client stays open.
func (s *Store) Close() error {
	s.closed.Store(true)
	return nil
}

// send sends a transaction once; see etcdonce for what that takes.
func (s *Store) send(ctx context.Context, txn clientv3.Op) (*clientv3.TxnResponse, error) {
	resp, err := s.kv.Do(ctx, txn)
	if err == nil {
		return resp.Txn(), nil
	}
	// These two are answered before a transaction is proposed, by a server
	// whose limits are below etcd's defaults. No other answer is certain: even
	// "database space exceeded" is given after the write was applied.
	if errors.Is(err, rpctypes.ErrRequestTooLarge) || errors.Is(err, rpctypes.ErrTooManyOps) {
		return nil, fmt.Errorf("%w: etcd says %q: leave its max-request-bytes and max-txn-ops at their defaults or above",
			state.ErrTooLarge, err.Error())
	}
	// The deadline often passes at the server first, and then its answer does
	// not match the context's error.
	cause := ctx.Err()
	if _, bounded := ctx.Deadline(); bounded && status.Code(err) == codes.DeadlineExceeded {
		cause = context.DeadlineExceeded
	}
	if cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return nil, err
}

func absent(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
}
