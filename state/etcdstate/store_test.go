package etcdstate

import (
	"context"
	"errors"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/state"
)

// fakeKV is an etcd server that answers every transaction the same way.
type fakeKV struct {
	pb.UnimplementedKVServer
	answer func(ctx context.Context) error
	txns   atomic.Int64
	// last is the last transaction.
	last atomic.Pointer[pb.TxnRequest]
}

func (f *fakeKV) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	f.txns.Add(1)
	f.last.Store(r)
	return nil, f.answer(ctx)
}

// connect runs f and returns a store that talks to it with an unchanged etcd
// client. stop ends the server and its
// connections.
func connect(t *testing.T, f *fakeKV) (store *Store, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterKVServer(server, f)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{listener.Addr().String()},
		Logger:    zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	store, err = New(client, "/cajun/test/")
	if err != nil {
		t.Fatal(err)
	}
	return store, server.Stop
}

func aCommit() []state.Commit {
	return []state.Commit{{
		Actor: state.Actor{Shard: state.Shard{Kind: "k", Number: 1}, Key: "a"},
		Fence: state.Fence{Epoch: 1, Session: "s"},
	}}
}

func definite(err error) bool {
	var fenced *state.FencedError
	var conflict *state.ConflictError
	return errors.As(err, &fenced) || errors.As(err, &conflict) ||
		errors.Is(err, state.ErrTooLarge) || errors.Is(err, state.ErrInvalid) || errors.Is(err, state.ErrClosed)
}

// TestAmbiguousAnswers: none of these answers tells whether a commit was
// applied, so each must be passed on, and the transaction sent once.
func TestAmbiguousAnswers(t *testing.T) {
	for name, answer := range map[string]error{
		"unavailable":       status.Error(codes.Unavailable, "transport is closing"),
		"leader changed":    rpctypes.ErrGRPCLeaderChanged,
		"no leader":         rpctypes.ErrGRPCNoLeader,
		"timeout":           rpctypes.ErrGRPCTimeout,
		"leader failed":     rpctypes.ErrGRPCTimeoutDueToLeaderFail,
		"connection lost":   rpctypes.ErrGRPCTimeoutDueToConnectionLost,
		"server stopped":    rpctypes.ErrGRPCStopped,
		"no space":          rpctypes.ErrGRPCNoSpace, // said after the write, too
		"too many requests": rpctypes.ErrGRPCRequestTooManyRequests,
		"corrupt":           rpctypes.ErrGRPCCorrupt,
		"unknown":           errors.New("something else"),
		"cancelled there":   status.Error(codes.Canceled, "context canceled"),
		"deadline there":    status.Error(codes.DeadlineExceeded, "context deadline exceeded"),
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeKV{answer: func(context.Context) error { return answer }}
			store, _ := connect(t, f)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := store.Commit(ctx, aCommit())
			if err == nil || definite(err) || !strings.Contains(err.Error(), "may or may not") {
				t.Errorf("Commit = %v, want an error that leaves the fate open", err)
			}
			if n := f.txns.Load(); n != 1 {
				t.Errorf("the transaction was sent %d times", n)
			}
			seal := state.Seal{Shard: aCommit()[0].Actor.Shard, Fence: aCommit()[0].Fence}
			if err := store.Seal(ctx, []state.Seal{seal})[0]; err == nil || definite(err) {
				t.Errorf("Seal = %v, want an error that leaves the fate open", err)
			}
			if err := store.Bind(ctx, "id"); err == nil || definite(err) {
				t.Errorf("Bind = %v, want an error that leaves the fate open", err)
			}
			if _, err := store.Load(ctx, aCommit()[0].Actor, aCommit()[0].Fence); err == nil || definite(err) {
				t.Errorf("Load = %v", err)
			}
			if list, err := store.Agenda(ctx, aCommit()[0].Actor.Shard, "", 1); err == nil || definite(err) || list != nil {
				t.Errorf("Agenda = %v, %v", list, err)
			}
		})
	}
}

// TestCertainAnswers: an etcd with lower limits than the default refuses
// before it proposes.
func TestCertainAnswers(t *testing.T) {
	for _, answer := range []error{rpctypes.ErrGRPCRequestTooLarge, rpctypes.ErrGRPCTooManyOps} {
		f := &fakeKV{answer: func(context.Context) error { return answer }}
		store, _ := connect(t, f)
		if err := store.Commit(t.Context(), aCommit()); !errors.Is(err, state.ErrTooLarge) {
			t.Errorf("%v became %v, want ErrTooLarge", answer, err)
		}
	}
}

// TestOversizedRequest: sizes that the limits do not count are counted too.
func TestOversizedRequest(t *testing.T) {
	f := &fakeKV{answer: func(context.Context) error { return nil }}
	store, _ := connect(t, f)
	commits := aCommit()
	commits[0].Fence.Session = strings.Repeat("s", maxRequest)
	if err := store.Commit(t.Context(), commits); !errors.Is(err, state.ErrTooLarge) {
		t.Errorf("Commit = %v, want ErrTooLarge", err)
	}
	if n := f.txns.Load(); n != 0 {
		t.Errorf("it was sent %d times", n)
	}
}

// TestSafeRepeats: what certainly did not reach the key-value store is sent
// again by the client, which must not be lost with the unsafe repeats.
func TestSafeRepeats(t *testing.T) {
	f := &fakeKV{}
	f.answer = func(context.Context) error {
		if f.txns.Load() == 1 {
			return rpctypes.ErrGRPCInvalidAuthToken
		}
		return rpctypes.ErrGRPCRequestTooLarge
	}
	store, _ := connect(t, f)
	if err := store.Commit(t.Context(), aCommit()); !errors.Is(err, state.ErrTooLarge) {
		t.Errorf("Commit = %v, want the second answer", err)
	}
	if n := f.txns.Load(); n != 2 {
		t.Errorf("the transaction was sent %d times, want 2", n)
	}
}

// TestLostConnection cuts the connection while a commit is under way: Stop
// closes it first and then waits for the handler.
func TestLostConnection(t *testing.T) {
	received, release := make(chan struct{}, 1), make(chan struct{})
	f := &fakeKV{answer: func(context.Context) error {
		received <- struct{}{}
		<-release
		return nil
	}}
	store, stop := connect(t, f)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-received
		stop()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := store.Commit(ctx, aCommit())
	if err == nil || definite(err) || ctx.Err() != nil {
		t.Errorf("Commit = %v, want one about the connection that leaves the fate open", err)
	}
	if n := f.txns.Load(); n != 1 {
		t.Errorf("the transaction was sent %d times", n)
	}
	close(release)
	<-stopped
}

// TestContextEndsOnTheWay ends the context while the server works.
func TestContextEndsOnTheWay(t *testing.T) {
	received := make(chan struct{}, 1)
	f := &fakeKV{answer: func(ctx context.Context) error {
		received <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	store, _ := connect(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-received
		cancel()
	}()
	if err := store.Commit(ctx, aCommit()); !errors.Is(err, context.Canceled) || definite(err) {
		t.Errorf("Commit = %v, want context.Canceled", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := store.Commit(short, aCommit()); !errors.Is(err, context.DeadlineExceeded) || definite(err) {
		t.Errorf("Commit = %v, want context.DeadlineExceeded", err)
	}
}

func TestNewRefuses(t *testing.T) {
	client := clientv3.NewCtxClient(t.Context())
	for _, prefix := range []string{"", "cajun", "/cajun/prod", strings.Repeat("p", 128) + "/"} {
		if _, err := New(client, prefix); err == nil {
			t.Errorf("prefix %q was taken", prefix)
		}
	}
	if _, err := New(nil, "/cajun/prod/"); err == nil {
		t.Error("no client was taken")
	}
}

// TestPlanFitsEtcd counts what etcd counts, for the largest calls.
func TestPlanFitsEtcd(t *testing.T) {
	store := newStore(nil, "/cajun/test/")
	for commits := 1; commits <= maxCommits; commits++ {
		cs := make([]state.Commit, commits)
		for i := range cs {
			cs[i].Actor = state.Actor{Shard: state.Shard{Kind: "k", Number: uint32(i)}, Key: "a"}
		}
		for i := range maxRows {
			c := &cs[i%commits]
			if c.Agenda == nil {
				c.Agenda = new(state.Agenda)
				continue
			}
			c.Delete = append(c.Delete, string(rune('a'+i)))
		}
		conds, then, otherwise := store.plan(cs).txn().Txn()
		outer := max(len(conds), len(then), len(otherwise))
		if outer > maxOps {
			t.Fatalf("%d commits: %d conditions, %d writes, %d reads", commits, len(conds), len(then), len(otherwise))
		}
		rows := 0
		for _, op := range then {
			_, nested, _ := op.Txn()
			if len(nested) > 128-outer {
				t.Fatalf("%d commits: %d operations nested in %d", commits, len(nested), outer)
			}
			rows += len(nested)
			if op.IsDelete() {
				rows++
			}
		}
		if rows != maxRows {
			t.Fatalf("%d commits: %d of %d rows are written", commits, rows, maxRows)
		}
	}
}

// longest are commits that use up the limits with names of full length, all of
// it to be escaped, and with as many rows as agendas leave.
func longest(agendas int) []state.Commit {
	cs := make([]state.Commit, maxCommits)
	bytes := 0
	for i := range cs {
		c := &cs[i]
		c.Actor.Shard = state.Shard{Kind: strings.Repeat("k", state.MaxKindBytes), Number: math.MaxUint32 - uint32(i)}
		c.Actor.Key = strings.Repeat("\x01", state.MaxKeyBytes)
		c.Fence = state.Fence{Epoch: math.MaxUint64, Session: strings.Repeat("s", state.MaxSessionBytes)}
		if i < agendas {
			c.Agenda = &state.Agenda{Due: math.MaxInt64, Dead: math.MaxUint32}
		}
	}
	for i := range maxRows - agendas {
		c := &cs[i%maxCommits]
		c.Put = append(c.Put, state.Row{Name: string(rune('a' + i/maxCommits))})
	}
	for i := range cs {
		bytes += cs[i].Size()
	}
	cs[0].Record = make([]byte, maxBytes-bytes)
	return cs
}

// TestPlanFitsRequest: what is within the limits is within etcd's request size,
// and what the plan adds up is not less than what is sent.
func TestPlanFitsRequest(t *testing.T) {
	prefix := strings.Repeat("p", maxPrefix-1) + "/"
	for _, agendas := range []int{0, 1, maxCommits} {
		cs := longest(agendas)
		if err := limits().Check(cs); err != nil {
			t.Fatal(err)
		}
		f := &fakeKV{answer: func(context.Context) error { return rpctypes.ErrGRPCTooManyOps }}
		store, _ := connect(t, f)
		store.keys = keyspace(prefix)
		size := store.plan(cs).size
		if size > maxRequest {
			t.Errorf("%d agendas: %d bytes, of at most %d", agendas, size, maxRequest)
		}
		if err := store.Commit(t.Context(), cs); f.txns.Load() != 1 {
			t.Errorf("%d agendas: Commit = %v, and it was sent %d times", agendas, err, f.txns.Load())
		}
		if sent := proto.Size(f.last.Load()); sent > size || sent < maxBytes {
			t.Errorf("%d agendas: %d bytes are sent, the plan says %d", agendas, sent, size)
		}
	}
}

// TestAgendaAsksTheLeader: a read of any member alone would miss what others
// have applied already.
func TestAgendaAsksTheLeader(t *testing.T) {
	f := &fakeKV{answer: func(context.Context) error { return rpctypes.ErrGRPCTooManyOps }}
	store, _ := connect(t, f)
	if _, err := store.Agenda(t.Context(), state.Shard{Kind: "k", Number: 1}, "a", 7); err == nil {
		t.Error("Agenda passed over an error")
	}
	sent := f.last.Load()
	if len(sent.Compare) > 0 || len(sent.Success) != 1 {
		t.Fatalf("Agenda sent %v", sent)
	}
	if r := sent.Success[0].GetRequestRange(); r.Serializable || r.Limit != 7 || r.SortOrder != pb.RangeRequest_NONE {
		t.Errorf("Agenda sent %v", r)
	}
}

// TestPlanComparesFencesOnce: commits of one shard share its comparison.
func TestPlanComparesFencesOnce(t *testing.T) {
	cs := make([]state.Commit, maxCommits)
	for i := range cs {
		cs[i].Actor = state.Actor{Shard: state.Shard{Kind: "k", Number: uint32(i % 3)}, Key: "a"}
		cs[i].Fence = state.Fence{Epoch: 1, Session: "s"}
	}
	conds, _, reads := newStore(nil, "/cajun/test/").plan(cs).txn().Txn()
	if want := maxCommits + 3; len(conds) != want || len(reads) != want {
		t.Errorf("%d conditions and %d reads, want %d of each", len(conds), len(reads), want)
	}
}
