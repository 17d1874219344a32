package cajun_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
)

// TestMessageToABusyActor: an actor that is busy is waited for, however long.
func TestMessageToABusyActor(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, 0, "a"), w.counterOn(0, owner, "b")
		w.on("busy", func(context.Context, *cajun.Self) error { time.Sleep(10600 * time.Millisecond); return nil })
		over := make(chan struct{})
		go func() {
			defer close(over)
			for range 5 {
				if _, err := b.Add(testContext(t), &probev1.AddRequest{Script: "busy"}); err != nil {
					t.Error(err)
				}
			}
		}()
		during(10 * time.Millisecond)
		sentBy["handler"](t, w, a, b, &probev1.AddRequest{Amount: 1})
		during(10 * time.Minute)
		<-over
		r, err := b.Get(testContext(t), &probev1.GetRequest{})
		if l := w.letters(t); len(l) > 0 || err != nil || r.GetSum() != 1 {
			t.Errorf("the message was handled %d times; the dead letters are %+v", r.GetSum(), l)
		}
	})
}

// TestClosedDuringALaterRun: an interceptor that is unavailable for a while does not end a
// turn that was let in before.
func TestClosedDuringALaterRun(t *testing.T) {
	var closed atomic.Bool
	maintenance := cajun.WithInbound(func(next cajun.Invoker) cajun.Invoker {
		return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
			if closed.Load() && call.Method == "AddOnce" {
				return nil, connect.NewError(connect.CodeUnavailable, "maintenance")
			}
			return next(ctx, call, req)
		}
	})
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, maintenance)
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, 0, "b")
		called := make(chan struct{}, 100)
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			called <- struct{}{}
			if w.runsOf(key(a)) == 1 {
				<-ctx.Done() // the node is killed here
				return ctx.Err()
			}
			return nil
		})
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
		})
		receive(t, "b was called", called)
		closed.Store(true)
		w.Kill(1)
		during(20 * time.Second)
		closed.Store(false)
		if r := later(t, "the call is answered", call); r.err != nil {
			t.Error(r.err)
		}
		w.sumOf(t, b, 1)
		w.sumOf(t, a, 1)
	})
}

// TestOverstayedWithoutState: a message to an actor without state counts its attempts, too.
func TestOverstayedWithoutState(t *testing.T) {
	for _, way := range []string{"outside", "timer", "handler"} {
		t.Run(way, func(t *testing.T) {
			fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
				ctx := testContext(t)
				a, e := w.counterOn(0, 0, "a"), w.echoOn(0, owner, "e")
				w.on("slow", func(ctx context.Context, _ *cajun.Self) error { <-ctx.Done(); return ctx.Err() })
				r := &probev1.EchoRequest{Text: "slow"}
				w.on("send", func(ctx context.Context, self *cajun.Self) error {
					return probev1cajun.NewEchoPid(self, key(e)).NoteSure(ctx, r)
				})
				var err error
				switch way {
				case "outside":
					err = e.NoteSure(ctx, r)
				case "timer":
					err = cajun.Schedule(ctx, e.NoteSure, r, cajun.Timer{Name: "t", After: time.Second})
				case "handler":
					_, err = a.Add(ctx, &probev1.AddRequest{Script: "send"})
				}
				if err != nil {
					t.Fatal(err)
				}
				during(2 * time.Hour) // ten attempts of half a minute, and the pauses
				letters := 0
				for _, kind := range []string{probev1cajun.CounterKind, probev1cajun.EchoKind} {
					for _, err := range w.Node(0).DeadLetters(testContext(t), kind) {
						if err != nil {
							t.Fatal(err)
						}
						letters++
					}
				}
				if runs := w.runsOf(key(e)); letters != 1 || runs > 12 {
					t.Errorf("%d dead letters after %d runs", letters, runs)
				}
			})
		})
	}
}

// TestTurnWithoutADeadline: a deadline that is no deadline changes nothing.
func TestTurnWithoutADeadline(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		a, b := w.counterOn(0, 0, "a"), w.counterOn(0, 1, "b")
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			panic("rehearsed")
		})
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().AddDate(200, 0, 0)) // never, as somebody may write it
		defer cancel()
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "chain"})
		})
		during(time.Hour)
		select {
		case r := <-call:
			wantOutcome(t, r.err, guarantee.Answered)
		default:
			t.Errorf("not answered in an hour; %d runs of a", w.runsOf(key(a)))
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := a.Add(ctx, &probev1.AddRequest{}); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowPanic: a callee that panics after a while ends its callers' turns, too.
func TestSlowPanic(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, 0, "a"), w.counterOn(0, owner, "b")
		w.on("boom", func(context.Context, *cajun.Self) error {
			time.Sleep(600 * time.Millisecond)
			panic("rehearsed")
		})
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			_, err := counterFrom(self, key(b)).AddSure(ctx, &probev1.AddRequest{Amount: 1, Script: "boom"})
			return err
		})
		_, err := a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
		wantOutcome(t, err, guarantee.Answered)
		t.Log(w.runsOf(key(a)), "runs of a", w.runsOf(key(b)), "runs of b")
	})
}

// TestVisitOfAnActorThatCannotBeLoaded: a new owner sends as soon as it has loaded what there is to
// see to, also if that fails at first and actors leave memory soon.
func TestVisitOfAnActorThatCannotBeLoaded(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		store := &failingLoads{Store: memstate.New()}
		s := newStage()
		var refuse atomic.Bool
		refuse.Store(true)
		s.on("poison", func(context.Context, *cajun.Self) error {
			if refuse.Load() {
				return errRehearsed
			}
			return nil
		})
		s.on("send", func(ctx context.Context, self *cajun.Self) error {
			return quickNote.Send(ctx, cajun.NewPid(self, quickKind, "z"), &probev1.AddRequest{Amount: 1})
		})
		c := cajuntest.Start(t, 2, cajun.WithState(store), cajun.HostWithState(quickKind, func(self *cajun.Self, st *probev1.CounterState) (*counter, error) {
			return &counter{stage: s, self: self, state: st}, nil
		}, cajun.Handle(quickAdd, (*counter).Add), cajun.HandleOneWay(quickNote, (*counter).Note)))
		pid := func(key string) cajun.Pid { return cajun.NewPid(c.Node(0), quickKind, key) }
		if _, err := quickAdd.Call(testContext(t), pid("x"), &probev1.AddRequest{}); err != nil {
			t.Fatal(err)
		}
		owner := c.Owner(pid("x"))
		if err := quickNote.Send(testContext(t), pid("x"), &probev1.AddRequest{Amount: 1, Script: "poison"}); err != nil {
			t.Fatal(err)
		}
		during(time.Second) // it waits for its next attempt
		store.ill.Store(true)
		other := 1 - owner
		c.Kill(owner)
		during(20 * time.Second)
		store.ill.Store(false)
		refuse.Store(false)
		during(20 * time.Second)
		n := c.Node(other)
		if _, err := quickAdd.Call(testContext(t), cajun.NewPid(n, quickKind, "y"), &probev1.AddRequest{Script: "send"}); err != nil {
			t.Fatal(err)
		}
		during(20 * time.Second)
		r, err := quickAdd.Call(testContext(t), cajun.NewPid(n, quickKind, "z"), &probev1.AddRequest{})
		if err != nil || r.GetSum() != 1 {
			t.Errorf("20 seconds later z has %d: %v", r.GetSum(), err)
		}
	})
}

// TestOpenTurnWithoutItsMethod: an actor whose open turn is of a method that the new owner
// does not have takes calls again after a while.
func TestOpenTurnWithoutItsMethod(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s := newStage()
		c := cajuntest.Start(t, 1)
		first := c.Add(s.options())
		called := make(chan struct{}, 10)
		s.on("chain", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, "b").AddSure(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			called <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		go counterFrom(c.Node(first), "a").AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
		receive(t, "a has called b", called)
		next := c.Add(cajun.HostWithState(oldKind, func(self *cajun.Self, st *probev1.CounterState) (*counter, error) {
			return &counter{stage: s, self: self, state: st}, nil
		}, cajun.Handle(oldAdd, (*counter).Add)))
		c.Kill(first)
		during(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := oldAdd.Call(ctx, cajun.NewPid(c.Node(next), oldKind, "a"), &probev1.AddRequest{}); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// TestRoomForAnswersComesBack: a call is not refused for good because its callee keeps much for
// turns that are open.
func TestRoomForAnswersComesBack(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		a, e := w.counterOn(0, 0, "a"), w.echoOn(0, 1, "e")
		gate := w.hold("wait")
		w.on("read", func(ctx context.Context, self *cajun.Self) error {
			if _, err := probev1cajun.NewEchoPid(self, key(e)).EchoOnce(ctx, &probev1.EchoRequest{Payload: make([]byte, 110<<10)}); err != nil {
				return err
			}
			gate.entered <- struct{}{}
			<-gate.open
			return nil
		})
		w.on("small", func(ctx context.Context, self *cajun.Self) error {
			_, err := probev1cajun.NewEchoPid(self, key(e)).EchoOnce(ctx, &probev1.EchoRequest{Text: "x", Payload: make([]byte, 130<<10)})
			return err
		})
		for _, k := range sameShard(key(a), 6) {
			go counterFrom(w.Node(0), k).AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "read"})
		}
		for range 6 {
			receive(t, "a turn has its answer", gate.entered)
		}
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "small"})
		})
		during(10 * time.Second)
		gate.release() // now there would be room
		if r := later(t, "the call is answered", call); r.err != nil {
			t.Error(r.err)
		}
		w.sumOf(t, a, 1)
	})
}

var (
	quickKind = &cajun.Kind{Name: "probe.v1.Quick", IdleTimeout: 100 * time.Millisecond, Shards: 1}
	quickAdd  = cajun.NewMethod[*probev1.AddRequest, *probev1.AddReply](quickKind, "Add", cajun.MethodOptions{})
	quickNote = cajun.NewOneWay[*probev1.AddRequest](quickKind, "Note", cajun.MethodOptions{Delivery: guarantee.ExactlyOnce})

	oldKind = &cajun.Kind{Name: probev1cajun.CounterKind, Shards: 64}
	oldAdd  = cajun.NewMethod[*probev1.AddRequest, *probev1.AddReply](oldKind, "Add", cajun.MethodOptions{})
)

// failingLoads is a store that does not load an actor while it is ill.
type failingLoads struct {
	state.Store
	ill atomic.Bool
}

func (s *failingLoads) Load(ctx context.Context, a state.Actor, f state.Fence) (state.Snapshot, error) {
	if s.ill.Load() && a.Key == "x" {
		return state.Snapshot{}, errRehearsed
	}
	return s.Store.Load(ctx, a, f)
}
