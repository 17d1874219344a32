package cajun_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// step is a call that a handler makes.
type step struct {
	to      probev1cajun.CounterPid
	request *probev1.AddRequest
}

// chain lets handlers with the script call other counters, one after the other.
func (w *world) chain(script string, steps ...step) {
	w.on(script, func(ctx context.Context, self *cajun.Self) error {
		for _, s := range steps {
			if _, err := counterFrom(self, key(s.to)).AddOnce(ctx, s.request); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestNestedResult: a handler that ends after its nested calls ends like any
// other, and leaves no intent behind.
func TestNestedResult(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, 1+owner, "b")
		w.chain("nested", step{b, &probev1.AddRequest{Amount: 1}})
		w.on("nested, then no", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			return errRehearsed
		})
		for name, call := range map[string]func(context.Context, *probev1.AddRequest) (*probev1.AddReply, error){"at most": a.Add, "at least": a.AddSure, "exactly": a.AddOnce} {
			w.forget(key(a))
			if _, err := call(ctx, &probev1.AddRequest{Amount: 1, Script: "nested"}); err != nil {
				t.Errorf("%s once: %v", name, err)
			}
			_, err := call(ctx, &probev1.AddRequest{Amount: 1, Script: "nested, then no"})
			wantOutcome(t, err, guarantee.Answered, errRehearsed.Error())
			if n := w.runsOf(key(a)); n != 2 {
				t.Errorf("%s once: the handler ran %d times for two calls", name, n)
			}
		}
		w.sumOf(t, a, 3)
		w.sumOf(t, b, 6)
	})
}

// TestNestedRefusals: what a handler must not do is refused, and ends its turn
// like any error.
func TestNestedRefusals(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a := w.counterOn(0, owner, "a")
		w.on("reader writes", func(ctx context.Context, self *cajun.Self) error {
			_, err := counterFrom(self, "b").AddOnce(ctx, &probev1.AddRequest{})
			wantRefusal(t, err, connect.CodeFailedPrecondition, "no side effects")
			wantRefusal(t, counterFrom(self, "b").NoteOnce(ctx, &probev1.AddRequest{}), connect.CodeFailedPrecondition, "no side effects")
			return nil
		})
		if _, err := a.Get(ctx, &probev1.GetRequest{Script: "reader writes"}); err != nil {
			t.Error(err)
		}
		w.on("keyed message", func(ctx context.Context, self *cajun.Self) error {
			return counterFrom(self, "b").NoteOnce(cajun.Idempotent(ctx, "k"), &probev1.AddRequest{})
		})
		_, err := a.AddOnce(ctx, &probev1.AddRequest{Script: "keyed message"})
		wantOutcome(t, err, guarantee.Answered, "Idempotent")
		w.on("too many", func(ctx context.Context, self *cajun.Self) error {
			for range cajun.MaxSends {
				if err := counterFrom(self, "b").NoteOnce(ctx, &probev1.AddRequest{}); err != nil {
					return err
				}
			}
			return counterFrom(self, "b").NoteOnce(ctx, &probev1.AddRequest{})
		})
		_, err = a.AddOnce(ctx, &probev1.AddRequest{Script: "too many"})
		wantOutcome(t, err, guarantee.Answered, "64 messages")
		var late context.Context
		w.on("keep", func(ctx context.Context, self *cajun.Self) error { late = ctx; return nil })
		if _, err := a.AddOnce(ctx, &probev1.AddRequest{Script: "keep"}); err != nil {
			t.Fatal(err)
		}
		wantOutcome(t, counterFrom(w.Node(0), "b").NoteOnce(late, &probev1.AddRequest{}), guarantee.NotExecuted)
		_, err = counterFrom(w.Node(0), "b").AddOnce(late, &probev1.AddRequest{})
		wantOutcome(t, err, guarantee.NotExecuted)
		during(10 * time.Second)
		if n := w.runsOf("b"); n != 0 {
			t.Errorf("%d refused calls ran", n)
		}
	})
}

// TestNestedReadNeedsNoIntent: a reader may read others at any level.
func TestNestedReadNeedsNoIntent(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a := w.counterOn(0, owner, "a")
		w.on("read", func(ctx context.Context, self *cajun.Self) error {
			_, err := counterFrom(self, "b").Get(cajun.Deliver(ctx, guarantee.AtLeastOnce), &probev1.GetRequest{})
			return err
		})
		if _, err := a.Get(testContext(t), &probev1.GetRequest{Script: "read"}); err != nil {
			t.Error(err)
		}
	})
}

// TestHandlerThatIsNotDeterministic: it calls another actor anew with other
// arguments under the same number, and is told so. There is no second effect,
// and the turn comes to its end.
func TestHandlerThatIsNotDeterministic(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, 2*owner, "b")
		gate := w.hold("wait")
		var runs atomic.Int64
		w.on("dice", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: runs.Add(1)}); err != nil {
				return err
			}
			gate.entered <- struct{}{}
			<-gate.open
			return nil
		})
		keyed := func() (*probev1.AddReply, error) {
			return a.Add(cajun.Idempotent(ctx, "order"), &probev1.AddRequest{Amount: 1, Script: "dice"})
		}
		first := async(keyed)
		receive(t, "the handler has called b", gate.entered)
		w.Kill(1)
		gate.release()
		got := receive(t, "the caller has an answer", first)
		wantOutcome(t, got.err, guarantee.Answered, "other arguments")
		_, err := keyed()
		wantOutcome(t, err, guarantee.Answered, "other arguments")
		w.sumOf(t, b, 1)
		w.sumOf(t, a, 0)
	})
}

// TestHandlerThatHidesALostCall: whatever the handler makes of a nested call
// without an answer, the turn stores nothing and is run again.
func TestHandlerThatHidesALostCall(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 2, "b")
		gate := w.hold("wait")
		w.on("hides", func(ctx context.Context, self *cajun.Self) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, _ = counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "wait"})
			return nil
		})
		_, err := a.Add(ctx, &probev1.AddRequest{Amount: 1, Script: "hides"})
		wantOutcome(t, err, guarantee.MaybeExecuted, "run again")
		gate.release()
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
		during(10 * time.Second)
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
	})
}

// TestHandlerThatLeavesACallBehind: a nested call that is under way when the
// handler returns is no reason to forget it.
func TestHandlerThatLeavesACallBehind(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 0, "b")
		var runs atomic.Int64
		done, arrived := make(chan struct{}, 10), make(chan struct{}, 10)
		w.on("arrive", func(context.Context, *cajun.Self) error { arrived <- struct{}{}; return nil })
		w.on("leaves", func(ctx context.Context, self *cajun.Self) error {
			call := func() {
				_, _ = counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "arrive"})
				done <- struct{}{}
			}
			if runs.Add(1) > 1 {
				call()
				return nil
			}
			go call()
			<-arrived
			return nil
		})
		_, _ = a.Add(testContext(t), &probev1.AddRequest{Amount: 1, Script: "leaves"})
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
		synctest.Wait()
	})
}

// TestTurnThatNeverEnds: a handler that panics after a nested call is run again
// a few times, and then its caller is told for good.
func TestTurnThatNeverEnds(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("rehearsed") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
				ctx := testContext(t)
				a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 0, "b")
				w.on("ends badly", func(ctx context.Context, self *cajun.Self) error {
					if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
						return err
					}
					end()
					return nil
				})
				_, err := a.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "ends badly"})
				if err == nil {
					t.Error("no error")
				}
				during(time.Minute)
				w.sumOf(t, a, 0)
				w.sumOf(t, b, 1)
				if runs := w.runsOf(key(a)); runs > 10 {
					t.Errorf("the handler ran %d times", runs)
				}
				if _, err := a.AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
					t.Errorf("the actor is of no use any more: %v", err)
				}
			})
		})
	}
}

// TestManyCallsOfOneTurn: a turn may call one actor often, also from several
// goroutines at once.
func TestManyCallsOfOneTurn(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a := w.counterOn(0, owner, "a")
		w.on("often", func(ctx context.Context, self *cajun.Self) error {
			errs := make(chan error, 60)
			for i := range 60 {
				call := func() {
					_, err := probev1cajun.NewEchoPid(self, fmt.Sprint("e", i%30)).EchoOnce(ctx, &probev1.EchoRequest{})
					errs <- err
				}
				if i%2 == 0 {
					call()
				} else {
					go call()
				}
			}
			for range 60 {
				if err := <-errs; err != nil {
					return err
				}
			}
			return nil
		})
		if _, err := a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "often"}); err != nil {
			t.Fatal(err)
		}
		if n := w.runsOf("e0") + w.runsOf("e1"); n != 4 {
			t.Errorf("two actors ran %d calls, want 4", n)
		}
	})
}
