package cajun_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// nearlyFull makes a state that leaves little room in a commit.
func nearlyFull() map[string]int64 { return map[string]int64{strings.Repeat("x", 740<<10): 1} }

// later waits for what takes minutes.
func later[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	patience := time.NewTimer(20 * time.Minute)
	defer patience.Stop()
	select {
	case v := <-c:
		return v
	case <-patience.C:
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// TestSlowCalleeOfALaterRun: a callee that needs longer than a later run waits
// for one answer has its time all the same, and the next run joins it.
func TestSlowCalleeOfALaterRun(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t) // ten minutes
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, 2*owner, "b")
		called := make(chan struct{}, 1000)
		w.on("slow", func(ctx context.Context, self *cajun.Self) error {
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			called <- struct{}{}
			if w.runsOf(key(a)) == 1 {
				<-ctx.Done() // the node is killed here
				return ctx.Err()
			}
			_, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "slow"})
			return err
		})
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "chain"})
		})
		receive(t, "b was called", called)
		w.Kill(1)
		if r := later(t, "the call is answered", call); r.err != nil {
			t.Error(r.err)
		}
		t.Log(w.runsOf(key(a)), "runs of a", w.runsOf(key(b)), "runs of b")
		during(3 * time.Hour)
		if _, err := a.Add(testContext(t), &probev1.AddRequest{}); err != nil {
			t.Errorf("three hours later: %v; %d runs of a, %d of b", err, w.runsOf(key(a)), w.runsOf(key(b)))
		}
	})
}

// TestTimerBesideALargeState: there is room for the turn of a timer's call beside
// state of any size.
func TestTimerBesideALargeState(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b")
		w.chain("chain", step{b, &probev1.AddRequest{Amount: 1}})
		if err := cajun.Schedule(testContext(t), a.NoteSure, &probev1.AddRequest{Amount: 1, Script: "chain", Padding: make([]byte, 100<<10)}, cajun.Timer{Name: "t", After: time.Minute}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Add(testContext(t), &probev1.AddRequest{Labels: nearlyFull()}); err != nil {
			t.Fatal(err)
		}
		during(3 * time.Minute)
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
	})
}

// TestTurnThatCannotBeStored: a call whose request does not fit beside the state is
// refused, and not tried again and again.
func TestTurnThatCannotBeStored(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b")
		w.chain("chain", step{b, &probev1.AddRequest{Amount: 1}})
		if _, err := a.Add(testContext(t), &probev1.AddRequest{Labels: nearlyFull()}); err != nil {
			t.Fatal(err)
		}
		_, err := a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain", Padding: make([]byte, 300<<10)})
		wantOutcome(t, err, guarantee.NotCommitted, "too large")
		if n := w.runsOf(key(a)); n != 2 {
			t.Errorf("the handler ran %d times", n)
		}
		w.sumOf(t, b, 0)
	})
}

// TestRefusalInALaterRun: what is refused before it is sent is refused in every run
// alike, and a handler that can deal with it brings its turn to an end.
func TestRefusalInALaterRun(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b")
		first := true
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			_, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1, Padding: make([]byte, 5<<20)})
			wantOutcome(t, err, guarantee.NotExecuted)
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			if first {
				first = false
				panic("once") // or a crash of the node
			}
			return nil
		})
		_, err := a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
		if err != nil {
			t.Error(err)
		}
		w.sumOf(t, b, 1)
		w.sumOf(t, a, 1)
	})
}

// TestGoexitInTheTurnOfAMessage: a message whose turn is run again is no dead letter.
func TestGoexitInTheTurnOfAMessage(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 0, "b")
		w.on("ends", func(ctx context.Context, self *cajun.Self) error {
			n := w.runsOf(key(a))
			if n <= 2 {
				return errRehearsed
			}
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			if n == 3 {
				runtime.Goexit()
			}
			return nil
		})
		if err := a.NoteSure(testContext(t), &probev1.AddRequest{Amount: 1, Script: "ends"}); err != nil {
			t.Fatal(err)
		}
		during(10 * time.Minute)
		r, err := a.Get(testContext(t), &probev1.GetRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if l := w.letters(t); len(l) > 0 || r.GetSum() != 1 {
			t.Errorf("the message has had its effect %d times, and there are %d dead letters: %+v", r.GetSum(), len(l), l)
		}
		for _, l := range w.letters(t) {
			if err := w.Node(0).Resend(testContext(t), l); err != nil {
				t.Fatal(err)
			}
		}
		during(time.Minute)
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
	})
}

// TestKeyOfABrokenCall: the failure of one call is not told to another one that was
// given the same key.
func TestKeyOfABrokenCall(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b")
		five := make(chan struct{}, 100)
		w.on("boom", func(context.Context, *cajun.Self) error {
			if w.runsOf(key(b)) == 5 {
				five <- struct{}{}
			}
			panic("rehearsed")
		})
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			_, err := counterFrom(self, key(b)).AddOnce(cajun.Idempotent(ctx, "k"), &probev1.AddRequest{Amount: 1, Script: "boom"})
			return err
		})
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
		})
		receive(t, "b has panicked five times", five)
		time.Sleep(time.Millisecond)
		for range 2 {
			if _, err := b.Add(cajun.Idempotent(testContext(t), "k"), &probev1.AddRequest{Amount: 1}); err != nil {
				t.Error(err)
			}
		}
		later(t, "the call is answered", call)
	})
}

// TestAnswersBesideGrowingState: a turn ends although its callee, whose state has grown
// meanwhile, can keep no more answers to it.
func TestAnswersBesideGrowingState(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		a, b := w.counterOn(0, 0, "a"), w.counterOn(0, 1, "b")
		gate := w.hold("wait")
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			for range 8 { // each reply has 75 KB
				if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
					return err
				}
			}
			if w.runsOf(key(a)) == 1 {
				gate.entered <- struct{}{}
				<-gate.open
			}
			_, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
			return err
		})
		if _, err := b.Add(testContext(t), &probev1.AddRequest{Labels: map[string]int64{strings.Repeat("x", 75<<10): 1}}); err != nil {
			t.Fatal(err)
		}
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
		})
		receive(t, "a has called b eight times", gate.entered)
		if _, err := b.Add(testContext(t), &probev1.AddRequest{Labels: map[string]int64{strings.Repeat("y", 600<<10): 1}}); err != nil {
			t.Fatal(err)
		}
		gate.release()
		t.Log(later(t, "the call is answered", call).err)
		during(20 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := a.Add(ctx, &probev1.AddRequest{}); err != nil {
			t.Errorf("a is stuck: %v, %d runs of a, %d of b", err, w.runsOf(key(a)), w.runsOf(key(b)))
		}
	})
}

// TestLateFrameOfARefusedCall: an attempt that arrives after the call was refused has no
// effect: the refusal is what the caller goes by.
func TestLateFrameOfARefusedCall(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		tap := newTap()
		w := newWorld(t, 3, cajun.WithTransport(tap))
		ctx := testContext(t)
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, 2, "b")
		during(10 * time.Second) // b leaves memory
		one, two := w.Node(1).ID(), w.Node(2).ID()
		var late *link.Request
		tap.watch(func(from string, f link.Frame) bool {
			if from != one || f.Request == nil || f.Request.Key != key(b) {
				return true
			}
			if late == nil {
				copied := *f.Request
				copied.Payload = slices.Clone(copied.Payload)
				if f.Number != nil {
					copied.ID = f.Number.Number()
				}
				late = &copied
			}
			return false // held up on its way
		})
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
			if err != nil && cajun.OutcomeOf(err) != guarantee.MaybeExecuted {
				return nil // the money is given back
			}
			return err
		})
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "chain"})
		})
		during(900 * time.Millisecond)
		w.hook = func(_ context.Context, self *cajun.Self) error {
			if self.Key() == key(b) {
				return errRehearsed
			}
			return nil
		}
		during(500 * time.Millisecond)
		tap.watch(nil)
		if r := later(t, "the call is answered", call); r.err != nil {
			t.Fatal(r.err)
		}
		w.sumOf(t, a, 1) // it is stored that b has not done it
		w.hook = nil
		tap.inject(two, one, link.Frame{Request: late})
		during(time.Second)
		w.sumOf(t, b, 0)
	})
}

// TestCalleeThatForgets: a callee that fails every time and leaves memory in between
// ends the turn all the same.
func TestCalleeThatForgets(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b")
		w.on("boom", func(context.Context, *cajun.Self) error { panic("rehearsed") })
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			during(5 * time.Second) // longer than the idle timeout
			_, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "boom"})
			return err
		})
		_, err := a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
		wantOutcome(t, err, guarantee.Answered)
		w.wantAnswers(t, a)
	})
}

// TestOpenTurnOutOfTime: that a turn has no time left for a call that it has made
// before is no answer to that call.
func TestOpenTurnOutOfTime(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a, b, c := w.counterOn(0, 1, "a"), w.counterOn(0, 2*owner, "b"), w.counterOn(0, 0, "c")
		gate := w.hold("stop")
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			if w.runsOf(self.Key()) == 2 {
				<-ctx.Done() // something takes long this time
			}
			_, err := counterFrom(self, key(c)).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
			if w.runsOf(self.Key()) == 1 {
				gate.entered <- struct{}{}
				<-gate.open
			}
			if err != nil { // it goes on in another way
				return counterFrom(self, "other").NoteOnce(context.WithoutCancel(ctx), &probev1.AddRequest{Amount: 1})
			}
			return nil
		})
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "chain"})
		})
		receive(t, "a has called b and c", gate.entered)
		w.Kill(1)
		gate.release()
		later(t, "the call has its end", call)
		w.sumOf(t, c, 1)
		w.sumOf(t, b, 1)
		w.sumOf(t, a, 1)
		w.sumOf(t, counterFrom(w.Node(0), "other"), 0)
	})
}

// TestLargeTimerBesideALargeState: a timer that was accepted calls and goes on, or is given
// up, whatever the size of the state is by then.
func TestLargeTimerBesideALargeState(t *testing.T) {
	for _, how := range []string{"fails", "succeeds"} {
		t.Run(how, func(t *testing.T) {
			fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
				a := w.counterOn(0, owner, "a")
				w.on("tick", func(context.Context, *cajun.Self) error {
					if how == "fails" {
						return errRehearsed
					}
					return nil
				})
				if err := cajun.Schedule(testContext(t), a.NoteSure, &probev1.AddRequest{Amount: 1, Script: "tick", Padding: make([]byte, 100<<10)}, cajun.Timer{Name: "t", After: time.Minute, Every: time.Hour}); err != nil {
					t.Fatal(err)
				}
				if _, err := a.Add(testContext(t), &probev1.AddRequest{Labels: nearlyFull()}); err != nil {
					t.Fatal(err)
				}
				during(70 * time.Second)                                            // ten seconds of ticking
				want := map[string][2]int{"fails": {1, 4}, "succeeds": {0, 2}}[how] // letters, and runs with the one of Add
				if got := [2]int{len(w.letters(t)), w.runsOf(key(a))}; got != want {
					t.Errorf("%d dead letters and runs, want %d", got, want)
				}
			})
		})
	}
}

// TestMessageWithLargeHeaders: headers count as a part of what is stored.
func TestMessageWithLargeHeaders(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a := w.counterOn(0, owner, "a")
		ctx := testContext(t)
		for _, k := range []string{"a", "b", "c"} {
			ctx = cajun.SetHeader(ctx, k, strings.Repeat("x", 60<<10))
		}
		err := cajun.Schedule(ctx, a.NoteSure, &probev1.AddRequest{}, cajun.Timer{Name: "t"})
		wantRefusal(t, err, connect.CodeResourceExhausted, "store the bulk elsewhere")
		wantRefusal(t, a.NoteSure(ctx, &probev1.AddRequest{}), connect.CodeResourceExhausted, "store the bulk elsewhere")
	})
}

// TestBusyActorsWithTimers: actors that are busy when their timers are due do not hold up
// the timers of others.
func TestBusyActorsWithTimers(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		ctx := testContext(t)
		w.hold("wait")
		for i := range 600 {
			e := probev1cajun.NewEchoPid(w.Node(0), fmt.Sprint("e", i))
			if err := cajun.Schedule(ctx, e.NoteSure, &probev1.EchoRequest{}, cajun.Timer{Name: "t", After: 5 * time.Minute}); err != nil {
				t.Fatal(err)
			}
		}
		w.Kill(1)
		during(time.Minute)
		n := 0
		for i := range 600 {
			e := probev1cajun.NewEchoPid(w.Node(0), fmt.Sprint("e", i))
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			go e.Echo(ctx, &probev1.EchoRequest{Text: "wait"})
			n++
		}
		during(10 * time.Minute)
		c := counterFrom(w.Node(0), "c")
		if err := cajun.Schedule(testContext(t), c.NoteSure, &probev1.AddRequest{Amount: 1}, cajun.Timer{Name: "t", After: time.Second}); err != nil {
			t.Fatal(err)
		}
		during(time.Minute)
		r, err := c.Get(testContext(t), &probev1.GetRequest{})
		if err != nil || r.GetSum() != 1 {
			t.Errorf("a minute later the timer of a second has called %d times: %v", r.GetSum(), err)
		}
	})
}
