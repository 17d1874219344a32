package cajun_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
)

// slowAgendas is a store whose agendas cannot be read while it is shut.
type slowAgendas struct {
	state.Store
	shut atomic.Bool
}

func (s *slowAgendas) Agenda(ctx context.Context, id state.Shard, after string, limit int) ([]state.Entry, error) {
	for s.shut.Load() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Store.Agenda(ctx, id, after, limit)
}

// TestIntentBeforeOthers: a turn that was interrupted is brought to its end
// before the actor takes another, also when the actor has no state and is called
// before its new owner has found out that there is something to finish.
func TestIntentBeforeOthers(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		store := &slowAgendas{Store: memstate.New()}
		w := newWorld(t, 3, cajun.WithState(store))
		ctx := testContext(t)
		x, b, c, d := w.echoOn(0, 1, "x"), w.counterOn(0, 0, "b"), w.counterOn(0, 0, "c"), w.counterOn(0, 0, "d")
		gate := w.hold("wait")
		w.chain("chain", step{b, &probev1.AddRequest{Amount: 1}}, step{c, &probev1.AddRequest{Amount: 1, Script: "wait"}}, step{b, &probev1.AddRequest{Amount: 10}})
		w.chain("other", step{d, &probev1.AddRequest{Amount: 1}})
		call := async(func() (*probev1.EchoReply, error) { return x.Echo(ctx, &probev1.EchoRequest{Text: "chain"}) })
		receive(t, "c is at it", gate.entered)
		store.shut.Store(true)
		w.Kill(1)
		receive(t, "the caller knows that its call is lost", call)
		gate.release()
		other := async(func() (*probev1.EchoReply, error) { return x.Echo(ctx, &probev1.EchoRequest{Text: "other"}) })
		during(3 * time.Second)
		store.shut.Store(false)
		if got := receive(t, "the other call is answered", other); got.err != nil {
			t.Error(got.err)
		}
		w.sumOf(t, d, 1)
		w.sumOf(t, c, 1)
		w.sumOf(t, b, 11)
	})
}

// TestClosedInTheMiddle: that a node is closed is no answer of a turn that has
// called other actors: the next owner brings it to its end.
func TestClosedInTheMiddle(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b, c := w.counterOn(0, 1, "a"), w.counterOn(0, 2*owner, "b"), w.counterOn(0, 0, "c")
		gate := w.hold("stop")
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			gate.entered <- struct{}{}
			select {
			case <-gate.open:
			case <-ctx.Done(): // and goes on as if nothing had happened
			}
			_, err := counterFrom(self, key(c)).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
			return err
		})
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "chain"})
		})
		receive(t, "a has called b", gate.entered)
		w.Node(1).Close()
		gate.release()
		if got := receive(t, "the call is answered", call); got.err != nil {
			t.Error(got.err)
		}
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
		w.sumOf(t, c, 1)
	})
}

// TestChainsThatMeet: two actors that call each other at the same time do not
// stand still for ever.
func TestChainsThatMeet(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, owner, "b")
		for name, pid := range map[string]string{"toA": key(a), "toB": key(b)} {
			w.on(name, func(ctx context.Context, self *cajun.Self) error {
				during(time.Second)
				_, err := counterFrom(self, pid).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
				return err
			})
		}
		var both sync.WaitGroup
		both.Go(func() { _, _ = a.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "toB"}) })
		both.Go(func() { _, _ = b.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "toA"}) })
		both.Wait()
		for _, pid := range []interface {
			Add(context.Context, *probev1.AddRequest) (*probev1.AddReply, error)
		}{a, b} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			if _, err := pid.Add(ctx, &probev1.AddRequest{}); err != nil {
				t.Errorf("%v is stuck: %v", pid, err)
			}
		}
	})
}

// TestGoroutinesOfHandlers: a handler may call from several goroutines, and
// leave some of them behind.
func TestGoroutinesOfHandlers(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		x, b := w.echoOn(0, 1, "x"), w.counterOn(0, owner, "b")
		var stray sync.WaitGroup
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			for range 4 {
				stray.Go(func() { _, _ = counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}) })
			}
			return nil
		})
		if _, err := x.Echo(ctx, &probev1.EchoRequest{Text: "chain"}); err != nil {
			t.Log(err)
		}
		stray.Wait()
	})
}

// clockwork sets a timer of its own when it enters memory.
func TestTimersOfHooks(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		ctx := testContext(t)
		pid := w.counterOn(0, 1, "a")
		began := time.Now()
		w.hook = func(ctx context.Context, self *cajun.Self) error {
			return cajun.Schedule(ctx, counterFrom(self, self.Key()).Note, &probev1.AddRequest{Amount: 1}, cajun.Timer{Name: "tick", After: time.Second})
		}
		during(time.Minute) // a leaves memory
		if _, err := pid.Add(ctx, &probev1.AddRequest{}); err != nil {
			t.Error(err)
		}
		t.Log(time.Since(began))
		w.sumOf(t, pid, 1)
	})
}
