package cajun_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/memmeta"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state/memstate"
)

// TestMoveCalledOff leaves a handler behind that ignores the end of its drain.
// The target of the move dies, and the node serves the actor on: what the handler
// did must not be stored beside what comes now.
func TestMoveCalledOff(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		pid := w.counterOn(1, 1, "k")
		door := w.hold("stubborn")
		left := async(func() (*probev1.AddReply, error) {
			return pid.Add(testContext(t), &probev1.AddRequest{Amount: 100, Script: "stubborn"})
		})
		receive(t, "the handler", door.entered)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Node(1).Drain(ctx); err == nil {
			t.Fatal("drained although a handler runs")
		}
		w.Kill(0)
		during(10 * time.Second)
		wantSum(t, pid, 0, 0)
		door.release()
		if got := <-left; got.err == nil {
			t.Errorf("the turn that was left behind: %v", got.value)
		}
		if _, err := pid.Add(testContext(t), &probev1.AddRequest{Amount: 1}); err != nil {
			t.Error(err)
		}
		wantSum(t, pid, 1, 1)
	})
}

// hanging is a metadata store whose reads and writes, renewals aside, hang while
// down is set.
type hanging struct {
	metadata.Store
	down *atomic.Bool
}

func (h hanging) Get(ctx context.Context, key string) (metadata.Entry, bool, error) {
	if h.down.Load() {
		<-ctx.Done()
	}
	return h.Store.Get(ctx, key)
}

func (h hanging) Commit(ctx context.Context, t metadata.Txn) (metadata.Result, error) {
	if h.down.Load() {
		<-ctx.Done()
		return metadata.Result{}, ctx.Err()
	}
	return h.Store.Commit(ctx, t)
}

// failedDrain returns a world whose one node has failed to drain, as a handler ran
// for too long, at a time when the metadata store does not answer. It answers
// again once down is false.
func failedDrain(t *testing.T) (w *world, down *atomic.Bool) {
	down = new(atomic.Bool)
	w = newWorld(t, 1, cajun.WithMetadata(hanging{memmeta.New(), down}))
	door := w.hold("door")
	call := async(func() (*probev1.EchoReply, error) {
		return probev1cajun.NewEchoPid(w.Node(0), "a").Echo(testContext(t), &probev1.EchoRequest{Text: "door"})
	})
	receive(t, "the handler", door.entered)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	time.AfterFunc(time.Second, func() { down.Store(true) })
	if err := w.Node(0).Drain(ctx); err == nil {
		t.Fatal("drained although a handler runs")
	}
	door.release()
	<-call
	return w, down
}

// TestDrainFailsWithTheStore: a node whose drain failed takes shards again, if
// not at once then as soon as the metadata store lets it.
func TestDrainFailsWithTheStore(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w, down := failedDrain(t)
		time.AfterFunc(9*time.Second, func() { down.Store(false) })
		during(time.Minute)
		for i := range 10 {
			if _, err := probev1cajun.NewEchoPid(w.Node(0), fmt.Sprint(i)).Echo(testContext(t), &probev1.EchoRequest{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestDrainAgain drains a node while it still tries to take back a drain that has
// failed: neither waits for the other for ever.
func TestDrainAgain(t *testing.T) {
	t.Parallel()
	for i := range 20 {
		bubble.Test(t, func(t *testing.T) {
			w, down := failedDrain(t)
			down.Store(false)
			during(time.Duration(i) * 10 * time.Millisecond)
			if err := w.Node(0).Drain(testContext(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// behind is a metadata store that tells of members a second late.
type behind struct{ metadata.Store }

func (s behind) Watch(ctx context.Context, prefix string, after int64) <-chan metadata.Batch {
	in := s.Store.Watch(ctx, prefix, after)
	if !strings.HasSuffix(prefix, "/members/") {
		return in
	}
	out := make(chan metadata.Batch)
	go func() {
		defer close(out)
		for b := range in {
			during(time.Second)
			select {
			case out <- b:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// TestNoStorm: a caller that knows more than the node that is to take an actor
// asks it now and then, and not as fast as it can.
func TestNoStorm(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		wire, stage, meta, records := newTap(), newStage(), memmeta.New(), memstate.New()
		start := func(meta metadata.Store, opts ...cajun.Option) *cajun.Node {
			n, err := cajun.Start(t.Context(), append(opts, cajun.WithMetadata(meta), cajun.WithState(records), cajun.WithTransport(wire),
				cajun.WithLogger(slog.New(slog.DiscardHandler)))...)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		first := start(meta, stage.options())
		caller := start(meta, cajun.WithClientOnly())
		defer caller.Close()
		pid := probev1cajun.NewEchoPid(caller, "k")
		if _, err := pid.Echo(t.Context(), &probev1.EchoRequest{}); err != nil {
			t.Fatal(err)
		}
		next := start(behind{meta}, cajun.WithWeight(1e-9), stage.options()) // nothing moves to it
		defer next.Close()
		during(3 * time.Second)
		first.Close()
		during(50 * time.Millisecond) // the caller knows it, and next does not
		requests := new(atomic.Int64)
		wire.watch(func(from string, f link.Frame) bool {
			if from == caller.ID() && f.Request != nil {
				return requests.Add(1) < 1000 // or this would never end
			}
			return true
		})
		if _, err := pid.Echo(t.Context(), &probev1.EchoRequest{}); err != nil {
			t.Error(err)
		}
		if n := requests.Load(); n > 100 {
			t.Errorf("%d requests for one call", n)
		}
	})
}
