package etcdmeta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/metadata"
)

// Grant implements metadata.Store. etcd counts whole seconds and raises what
// is below one and a half times its election timeout: with its default timeout
// of one second the shortest lease lasts two seconds. The granted TTL is in
// the Lease. etcd looks for expired leases twice a second, so they end up to
// about a second late; and a new etcd leader starts all of them afresh.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (metadata.Lease, error) {
	if ttl <= 0 {
		return metadata.Lease{}, fmt.Errorf("etcdmeta: a lease of %v: ask for more than zero", ttl)
	}
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return metadata.Lease{}, err
	}
	defer done()
	resp, err := s.client.Grant(ctx, seconds(ttl))
	if err != nil {
		return metadata.Lease{}, failed(ctx, "grant a lease", err)
	}
	return metadata.Lease{
		ID:  metadata.LeaseID(resp.ID),
		TTL: time.Duration(resp.TTL) * time.Second,
	}, nil
}

// seconds rounds up to whole seconds, within what etcd takes.
func seconds(ttl time.Duration) int64 {
	n := int64(ttl / time.Second)
	if ttl%time.Second > 0 {
		n++
	}
	return min(n, clientv3.MaxLeaseTTL)
}

// KeepAlive implements metadata.Store. It is one round trip.
//
// The client's KeepAliveOnce tries again without a pause for as long as etcd
// answers that it is unavailable, which keeps a core busy; this one returns
// the error, and its caller decides.
func (s *Store) KeepAlive(ctx context.Context, id metadata.LeaseID) error {
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	resp, err := s.keepAlive(ctx, id)
	if err != nil {
		return failed(ctx, "renew a lease", err)
	}
	if resp.GetTTL() <= 0 {
		return metadata.ErrLeaseGone
	}
	return nil
}

// keepAlive sends one renewal over a stream of its own and awaits the answer.
// The end of ctx ends the stream.
func (s *Store) keepAlive(ctx context.Context, id metadata.LeaseID) (*etcdserverpb.LeaseKeepAliveResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.leases.LeaseKeepAlive(ctx, waitForReady())
	if err != nil {
		return nil, err
	}
	// An error of Send is io.EOF; Recv tells the reason.
	sendErr := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: int64(id)})
	resp, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	return resp, sendErr
}

// Revoke implements metadata.Store.
func (s *Store) Revoke(ctx context.Context, id metadata.LeaseID) error {
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	if _, err := s.client.Revoke(ctx, clientv3.LeaseID(id)); err != nil {
		if err = failed(ctx, "revoke a lease", err); !errors.Is(err, metadata.ErrLeaseGone) {
			return err
		}
	}
	return nil
}
