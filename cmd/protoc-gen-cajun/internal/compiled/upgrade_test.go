package compiled_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/cajuntest"
	upgradev0 "github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/upgrade/v0"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/upgrade/v0/upgradev0cajun"
	upgradev1 "github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/upgrade/v1"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/upgrade/v1/upgradev1cajun"
	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
)

// oldLedger is the first generation: it knows totals only.
type oldLedger struct{ state *upgradev0.LedgerState }

func (l oldLedger) Add(_ context.Context, req *upgradev0.AddRequest) (*upgradev0.AddReply, error) {
	l.state.Total += req.GetAmount()
	return &upgradev0.AddReply{Total: l.state.GetTotal()}, nil
}

// newLedger is the second: it keeps notes, and has a method to ask for them.
type newLedger struct{ state *upgradev1.LedgerState }

func (l newLedger) Add(_ context.Context, req *upgradev1.AddRequest) (*upgradev1.AddReply, error) {
	l.state.Total += req.GetAmount()
	if req.GetNote() != "" {
		l.state.Notes = append(l.state.Notes, req.GetNote())
	}
	return &upgradev1.AddReply{Total: l.state.GetTotal(), Notes: int64(len(l.state.GetNotes()))}, nil
}

func (l newLedger) Audit(context.Context, *upgradev1.AuditRequest) (*upgradev1.AuditReply, error) {
	return &upgradev1.AuditReply{Total: l.state.GetTotal(), Notes: l.state.GetNotes()}, nil
}

func hostOld() cajun.Option {
	return upgradev0cajun.HostLedger(func(_ *cajun.Self, state *upgradev0.LedgerState) (oldLedger, error) {
		return oldLedger{state}, nil
	})
}

func hostNew() cajun.Option {
	return upgradev1cajun.HostLedger(func(_ *cajun.Self, state *upgradev1.LedgerState) (newLedger, error) {
		return newLedger{state}, nil
	})
}

// TestRollingUpgrade replaces the nodes of a cluster one by one by those of a
// new generation, whose service has another name, while clients of both
// generations call. No call fails, and every one takes effect once.
func TestRollingUpgrade(t *testing.T) {
	const nodes, clients, keys = 3, 4, 24
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster := cajuntest.Start(t, 0)
	for range nodes {
		cluster.Add(hostOld())
	}
	var done [keys]atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	halt := sync.OnceFunc(func() {
		close(stop)
		load.Wait()
	})
	defer halt()
	call := func(client int, add func(key string) error) {
		load.Go(func() {
			for n := client; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := add(fmt.Sprint(n % keys)); err != nil {
					t.Errorf("client %d: %v", client, err)
					return
				}
				done[n%keys].Add(1)
			}
		})
	}
	from := cluster.Client()
	for i := range clients {
		call(i, func(key string) error {
			_, err := upgradev0cajun.NewLedgerPid(from, key).Add(ctx, &upgradev0.AddRequest{Amount: 1})
			return err
		})
	}
	for i := range clients {
		call(clients+i, func(key string) error {
			_, err := upgradev1cajun.NewLedgerPid(from, key).Add(ctx, &upgradev1.AddRequest{Amount: 1})
			return err
		})
	}
	for i := range nodes {
		cluster.Add(hostNew())
		retire(ctx, t, cluster, i)
	}
	halt()
	for key := range keys {
		got, err := upgradev1cajun.NewLedgerPid(from, fmt.Sprint(key)).Audit(ctx, new(upgradev1.AuditRequest))
		if err != nil || got.GetTotal() == 0 || got.GetTotal() != done[key].Load() {
			t.Errorf("key %d: got %v, %v; want a total of %d", key, got, err, done[key].Load())
		}
	}
}

// retire drains a node and clears it away.
func retire(ctx context.Context, t *testing.T, cluster *cajuntest.Cluster, i int) {
	t.Helper()
	if err := cluster.Node(i).Drain(ctx); err != nil {
		t.Fatalf("node %d: %v", i, err)
	}
	cluster.Kill(i)
}

// TestRollback moves an actor to a node of the new generation, back to one of
// the old, which does not know all of its state, and forth again.
func TestRollback(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster := cajuntest.Start(t, 0)
	pid := func() upgradev1cajun.LedgerPid { return upgradev1cajun.NewLedgerPid(cluster.Client(), "a") }
	last := cluster.Add(hostOld())
	// take moves everything to a node of the other generation.
	take := func(host cajun.Option) {
		t.Helper()
		next := cluster.Add(host)
		retire(ctx, t, cluster, last)
		last = next
	}
	add := func(total, notes int64) {
		t.Helper()
		got, err := pid().Add(ctx, &upgradev1.AddRequest{Amount: 1, Note: fmt.Sprint("note ", total)})
		if err != nil || got.GetTotal() != total || got.GetNotes() != notes {
			t.Fatalf("got %v, %v; want a total of %d and %d notes", got, err, total, notes)
		}
	}
	if got, err := upgradev0cajun.NewLedgerPid(cluster.Client(), "a").Add(ctx, &upgradev0.AddRequest{Amount: 1}); err != nil || got.GetTotal() != 1 {
		t.Fatalf("got %v, %v; want a total of 1", got, err)
	}
	take(hostNew())
	add(2, 1)
	take(hostOld())
	add(3, 0) // the old generation tells of no notes,
	_, err := pid().Audit(ctx, new(upgradev1.AuditRequest))
	const want = "knows the method Audit of golden.upgrade.v1.Ledger: they run another generation of the service"
	if connect.CodeOf(err) != connect.CodeUnimplemented || cajun.OutcomeOf(err) != guarantee.NotExecuted || !strings.Contains(err.Error(), want) {
		t.Fatalf("a method that the node does not have: got %v, want %q", err, want)
	}
	take(hostNew())
	add(4, 2) // but has kept them
	got, err := pid().Audit(ctx, new(upgradev1.AuditRequest))
	if err != nil || strings.Join(got.GetNotes(), ", ") != "note 2, note 4" {
		t.Fatalf("got %v, %v", got, err)
	}
}
