// Package etcdmeta keeps a cluster's metadata in etcd.
package etcdmeta

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/cajun-go/cajun/internal/etcdonce"
	"github.com/cajun-go/cajun/metadata"
)

// How soon Open's clients notice that a connection died silently. These are
// the shortest times that gRPC and etcd's servers allow.
const (
	dialKeepAliveTime    = 10 * time.Second
	dialKeepAliveTimeout = 3 * time.Second
)

// errClosedDuring is why a call ends that Close overtook. It is not ErrClosed,
// which would promise that nothing was written.
var errClosedDuring = errors.New("etcdmeta: the store was closed during the call")

// Store implements metadata.Store on an etcd cluster.
//
// While etcd is unreachable calls wait until their context ends, as the client
// goes on connecting; give every call a deadline.
type Store struct {
	client *clientv3.Client
	once   clientv3.KV // for what must not be sent twice
	leases etcdserverpb.LeaseClient
	owned  bool

	// ctx ends when the store is closed, and running counts its watches.
	ctx     context.Context
	cancel  context.CancelCauseFunc
	mu      sync.Mutex // orders running.Add before Close
	running sync.WaitGroup
}

var _ metadata.Store = (*Store)(nil)

// New returns a store on a client that stays its owner's: Close leaves it
// open, and it must outlive the store. Set DialKeepAliveTime in the client's
// configuration, or a connection that died silently goes unnoticed for
// minutes.
func New(client *clientv3.Client) *Store {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Store{
		client: client,
		once:   etcdonce.KV(client),
		leases: etcdserverpb.NewLeaseClient(client.ActiveConnection()),
		ctx:    ctx,
		cancel: cancel,
	}
}

// Open returns a store with a client of its own, which Close closes. It does
// not wait for a connection. Unless cfg says otherwise, the client pings idle
// connections, and logs nothing, as every failure comes back as an error.
func Open(cfg clientv3.Config) (*Store, error) {
	if cfg.DialKeepAliveTime == 0 {
		cfg.DialKeepAliveTime = dialKeepAliveTime
		cfg.DialKeepAliveTimeout = dialKeepAliveTimeout
	}
	if cfg.Logger == nil && cfg.LogConfig == nil {
		cfg.Logger = zap.NewNop()
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcdmeta: open a client for %q: %w", cfg.Endpoints, err)
	}
	s := New(client)
	s.owned = true
	return s, nil
}

// Close ends every watch with ErrClosed, and every call that is under way
// with an error. A client that Open made is closed. Closing twice is no error.
func (s *Store) Close() error {
	s.mu.Lock()
	first := s.ctx.Err() == nil
	s.cancel(errClosedDuring)
	s.mu.Unlock()
	s.running.Wait()
	if !first || !s.owned {
		return nil
	}
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("etcdmeta: close the client: %w", err)
	}
	return nil
}

// Get implements metadata.Store.
func (s *Store) Get(ctx context.Context, key string) (metadata.Entry, bool, error) {
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return metadata.Entry{}, false, err
	}
	defer done()
	if key == "" { // etcd has no such key and refuses to look
		return metadata.Entry{}, false, nil
	}
	resp, err := s.client.Get(ctx, key)
	if err != nil {
		return metadata.Entry{}, false, failed(ctx, "get", err)
	}
	if len(resp.Kvs) == 0 {
		return metadata.Entry{}, false, nil
	}
	return entry(resp.Kvs[0]), true, nil
}

// List implements metadata.Store.
func (s *Store) List(ctx context.Context, prefix string) (metadata.Snapshot, error) {
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return metadata.Snapshot{}, err
	}
	defer done()
	resp, err := s.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return metadata.Snapshot{}, failed(ctx, "list", err)
	}
	snapshot := metadata.Snapshot{Revision: resp.Header.GetRevision()}
	if len(resp.Kvs) > 0 {
		snapshot.Entries = make([]metadata.Entry, len(resp.Kvs))
		for i, kv := range resp.Kvs {
			snapshot.Entries[i] = entry(kv)
		}
	}
	return snapshot, nil
}

// enter begins a call: its context ends with the caller's, and with the store.
func (s *Store) enter(ctx context.Context) (context.Context, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if s.ctx.Err() != nil {
		return nil, nil, metadata.ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	return ctx, func() { stop(); cancel(nil) }, nil
}

// failed words the error of a call. When the call's context has ended, that
// is the reason, whatever gRPC made of it.
func failed(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound) {
		return metadata.ErrLeaseGone
	}
	return fmt.Errorf("etcdmeta: %s: %w", what, err)
}

// entry translates what etcd returns.
func entry(kv *mvccpb.KeyValue) metadata.Entry {
	return metadata.Entry{
		Key:      string(kv.GetKey()),
		Value:    kv.GetValue(),
		Created:  kv.GetCreateRevision(),
		Modified: kv.GetModRevision(),
		Lease:    metadata.LeaseID(kv.GetLease()),
	}
}

// waitForReady makes a raw call behave like the client's own: it waits for a
// connection instead of failing at once.
func waitForReady() grpc.CallOption { return grpc.WaitForReady(true) }
