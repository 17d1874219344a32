package etcdmeta

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	cajun "github.com/cajun-go/cajun/metadata"
)

// These tests speak to a stub. Those against a real server are in embedetcd,
// so that whoever imports this package need not have the server.

// stub answers watches and renewals as a test wishes.
type stub struct {
	etcdserverpb.UnimplementedWatchServer
	etcdserverpb.UnimplementedLeaseServer
	etcdserverpb.UnimplementedKVServer

	onWatch func(etcdserverpb.Watch_WatchServer) error

	mu       sync.Mutex
	renewals int
	renewErr error
	txns     int
}

// Txn answers every transaction as a proxy does that gives up on it.
func (s *stub) Txn(context.Context, *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.txns++
	return nil, status.Error(codes.Canceled, "context canceled")
}

func (s *stub) Watch(stream etcdserverpb.Watch_WatchServer) error { return s.onWatch(stream) }

func (s *stub) LeaseKeepAlive(stream etcdserverpb.Lease_LeaseKeepAliveServer) error {
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.renewals++
	err = s.renewErr
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return stream.Send(&etcdserverpb.LeaseKeepAliveResponse{ID: req.ID, TTL: 5})
}

// open serves the stub and opens a store on it.
func (s *stub) open(t *testing.T) *Store {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	etcdserverpb.RegisterWatchServer(server, s)
	etcdserverpb.RegisterLeaseServer(server, s)
	etcdserverpb.RegisterKVServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	store, err := Open(clientv3.Config{Endpoints: []string{listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		<-served
	})
	return store
}

func (s *stub) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewErr = err
}

func TestKeepAliveIsOneAttempt(t *testing.T) {
	s := &stub{}
	store := s.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := store.KeepAlive(ctx, 7); err != nil {
		t.Fatalf("KeepAlive: %v", err)
	}
	s.fail(rpctypes.ErrGRPCTimeoutDueToLeaderFail)
	if err := store.KeepAlive(ctx, 7); err == nil || errors.Is(err, cajun.ErrLeaseGone) {
		t.Errorf("KeepAlive while etcd is unavailable: %v, want its error", err)
	}
	s.fail(rpctypes.ErrGRPCLeaseNotFound)
	if err := store.KeepAlive(ctx, 7); !errors.Is(err, cajun.ErrLeaseGone) {
		t.Errorf("KeepAlive: %v, want ErrLeaseGone", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.renewals != 3 {
		t.Errorf("%d renewals for 3 calls", s.renewals)
	}
}

// TestCommitIsOneAttempt: a claim that is sent twice would be refused by its own
// first attempt.
func TestCommitIsOneAttempt(t *testing.T) {
	s := &stub{}
	store := s.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := store.Commit(ctx, cajun.Txn{Then: []cajun.Op{cajun.Put("/k", nil, 0)}}); err == nil {
		t.Fatal("Commit succeeded")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.txns != 1 {
		t.Errorf("the transaction was sent %d times", s.txns)
	}
}

func TestWatchEndsWhenTheLeaderIsLost(t *testing.T) {
	required := make(chan []string, 1)
	s := &stub{onWatch: func(stream etcdserverpb.Watch_WatchServer) error {
		md, _ := metadata.FromIncomingContext(stream.Context())
		required <- md.Get(rpctypes.MetadataRequireLeaderKey)
		if _, err := stream.Recv(); err != nil {
			return err
		}
		header := &etcdserverpb.ResponseHeader{Revision: 9}
		if err := stream.Send(&etcdserverpb.WatchResponse{Header: header, Created: true}); err != nil {
			return err
		}
		event := &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), CreateRevision: 3, ModRevision: 4}}
		if err := stream.Send(&etcdserverpb.WatchResponse{Header: header, Events: []*mvccpb.Event{event}}); err != nil {
			return err
		}
		return rpctypes.ErrGRPCNoLeader
	}}
	store := s.open(t)
	var all []cajun.Batch
	for b := range store.Watch(t.Context(), "k", 0) {
		all = append(all, b)
	}
	if got := <-required; !slices.Equal(got, []string{rpctypes.MetadataHasLeader}) {
		t.Errorf("the watch does not require a leader: %q", got)
	}
	// The client may drop events that it has not delivered when it gives up.
	last := all[len(all)-1]
	if !errors.Is(last.Err, rpctypes.ErrNoLeader) {
		t.Errorf("the watch ended with %v, want ErrNoLeader", last.Err)
	}
}

func TestWatchIsRefused(t *testing.T) {
	s := &stub{onWatch: func(etcdserverpb.Watch_WatchServer) error {
		return status.Error(codes.PermissionDenied, "not for you")
	}}
	b := <-s.open(t).Watch(t.Context(), "k", 0)
	if status.Code(errors.Unwrap(b.Err)) != codes.PermissionDenied {
		t.Errorf("got %+v, want the server's refusal", b)
	}
}

func TestBatchIsCompleteUpToItsLastEvent(t *testing.T) {
	event := func(revision int64) *clientv3.Event {
		return (*clientv3.Event)(&mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: revision}})
	}
	header := &etcdserverpb.ResponseHeader{Revision: 100}
	for name, c := range map[string]struct {
		resp clientv3.WatchResponse
		want int64
		ok   bool
	}{
		"a piece of the past": {clientv3.WatchResponse{Header: header, Events: []*clientv3.Event{event(5), event(7)}}, 7, true},
		"a progress notice":   {clientv3.WatchResponse{Header: header}, 100, true},
		"a creation":          {clientv3.WatchResponse{Header: header, Created: true}, 0, false},
	} {
		b, ok := batch(c.resp)
		if ok != c.ok || b.Revision != c.want {
			t.Errorf("%s: complete up to %d, %v; want %d, %v", name, b.Revision, ok, c.want, c.ok)
		}
	}
}

func TestConditionsAloneAreLinearizable(t *testing.T) {
	ops := operations(cajun.Txn{If: []cajun.Cond{cajun.Present("k")}})
	if len(ops) != 1 || !ops[0].IsGet() || ops[0].IsSerializable() {
		t.Errorf("the operations are %+v, want a linearizable read, or etcd answers from a member that lags behind", ops)
	}
}

func TestSecondsRoundUp(t *testing.T) {
	for ttl, want := range map[time.Duration]int64{
		1: 1, time.Millisecond: 1, time.Second: 1, time.Second + 1: 2, 90 * time.Second: 90, 1<<63 - 1: clientv3.MaxLeaseTTL,
	} {
		if got := seconds(ttl); got != want {
			t.Errorf("seconds(%v) = %d, want %d", ttl, got, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	if s, err := Open(clientv3.Config{}); err == nil {
		s.Close()
		t.Error("Open without an endpoint: no error")
	}
}
