package cajun_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/placement"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state/memstate"
	"github.com/cajun-go/cajun/state/statetest"
)

// wantAnswers checks that an actor still takes calls, half an hour later.
func (w *world) wantAnswers(t *testing.T, pid probev1cajun.CounterPid) {
	t.Helper()
	during(30 * time.Minute)
	if _, err := pid.Add(testContext(t), &probev1.AddRequest{}); err != nil {
		t.Errorf("%s is stuck: %v; its handler ran %d times", pid, err, w.runsOf(key(pid)))
	}
}

// TestTurnsEnd: what comes again however often a turn is run ends the turn.
func TestTurnsEnd(t *testing.T) {
	forbidding := cajun.WithOutbound(func(next cajun.Invoker) cajun.Invoker {
		return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
			if r, ok := req.(*probev1.AddRequest); ok && r.GetScript() == "forbidden" {
				return nil, connect.NewError(connect.CodePermissionDenied, "not allowed")
			}
			return next(ctx, call, req)
		}
	})
	for name, steps := range map[string][]*probev1.AddRequest{
		"too many calls of one actor": slices.Repeat([]*probev1.AddRequest{{Amount: 1}}, guarantee.MaxParts+1),
		"too large a request":         {{Amount: 1, Padding: make([]byte, 5<<20)}},
		"the callee panics":           {{Amount: 1, Script: "boom"}},
		"the callee says too much":    {{Amount: 1, Script: "huge"}},
		"an interceptor refuses":      {{Amount: 1, Script: "forbidden"}},
	} {
		t.Run(name, func(t *testing.T) {
			fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
				a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b")
				w.on("boom", func(context.Context, *cajun.Self) error { panic("rehearsed") })
				var chain []step
				for _, r := range steps {
					chain = append(chain, step{b, r})
				}
				w.chain("chain", chain...)
				_, err := a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
				wantOutcome(t, err, guarantee.Answered)
				w.wantAnswers(t, a)
				w.sumOf(t, b, int64(len(steps)-1))
			}, forbidding)
		})
	}
}

// TestCalleeWithoutStateSaysNothing: a callee that has no state and returns no
// reply ends the turns of its callers, too.
func TestCalleeWithoutStateSaysNothing(t *testing.T) {
	mute := cajun.WithInbound(func(next cajun.Invoker) cajun.Invoker {
		return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
			reply, err := next(ctx, call, req)
			if r, ok := req.(*probev1.EchoRequest); ok && r.GetText() == "mute" {
				return nil, nil
			}
			return reply, err
		}
	})
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, e := w.counterOn(0, owner, "a"), w.echoOn(0, 1, "e")
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			_, err := probev1cajun.NewEchoPid(self, key(e)).EchoOnce(ctx, &probev1.EchoRequest{Text: "mute"})
			return err
		})
		_, err := a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
		wantOutcome(t, err, guarantee.Answered)
		w.wantAnswers(t, a)
	}, mute)
}

// TestTurnThatOutgrowsTheStore: state that is too large to be stored ends the
// turn, of the callee as of the caller.
func TestTurnThatOutgrowsTheStore(t *testing.T) {
	for _, who := range []string{"callee", "caller"} {
		t.Run(who, func(t *testing.T) {
			fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
				a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b")
				script := "grow"
				if who == "callee" {
					script = "chain"
					w.chain("chain", step{b, &probev1.AddRequest{Amount: 1, Script: "grow"}})
				} else {
					w.chain("grow", step{b, &probev1.AddRequest{Amount: 1}})
				}
				_, err := a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: script})
				wantOutcome(t, err, guarantee.Answered)
				w.wantAnswers(t, a)
			})
		})
	}
}

// sameShard returns other keys of a key's shard.
func sameShard(of string, n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		if k := fmt.Sprint("s", i); placement.ShardOf(k, 64) == placement.ShardOf(of, 64) {
			keys = append(keys, k)
		}
	}
	return keys
}

// TestOpenTurnHoldsNobodyUp: while a turn waits for an answer, others of its
// shard send and call as they like, and it gets through to whom they have called.
func TestOpenTurnHoldsNobodyUp(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b, c := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b"), w.counterOn(0, 0, "c")
		gate := w.hold("wait")
		w.chain("long", step{c, &probev1.AddRequest{Amount: 1, Script: "wait"}}, step{b, &probev1.AddRequest{Amount: 1000}})
		w.chain("short", step{b, &probev1.AddRequest{Amount: 1}})
		w.on("send", func(ctx context.Context, self *cajun.Self) error {
			for range 60 {
				if err := counterFrom(self, key(b)).NoteOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
					return err
				}
			}
			return nil
		})
		call := async(func() (*probev1.AddReply, error) { return a.Add(ctx, &probev1.AddRequest{Amount: 1, Script: "long"}) })
		receive(t, "c is at it", gate.entered)
		for _, k := range sameShard(key(a), 3) {
			other := counterFrom(w.Node(0), k)
			if _, err := other.Add(ctx, &probev1.AddRequest{Script: "send"}); err != nil {
				t.Fatal(err)
			}
			for range 60 {
				if _, err := other.Add(ctx, &probev1.AddRequest{Script: "short"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.sumOf(t, b, 360)
		gate.release()
		receive(t, "the long turn is over", call)
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1360)
		w.wantAnswers(t, a)
	})
}

// loses is a plan that loses so many writes that remove rows with this prefix.
func loses(prefix string, n int) statetest.Plan {
	return func(w statetest.Write) statetest.Fate {
		removes := func(row string) bool { return strings.HasPrefix(row, prefix) }
		for _, c := range w.Commits {
			if n > 0 && slices.ContainsFunc(c.Delete, removes) {
				n--
				return statetest.Lose
			}
		}
		return statetest.Deliver
	}
}

// losing runs a test on two nodes with a store that loses writes as told. The
// runtime gives a commit up after five.
func losing(t *testing.T, f func(t *testing.T, w *world, lose func(prefix string))) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		store := statetest.NewUnreliable(memstate.New(), nil)
		w := newWorld(t, 2, cajun.WithState(store))
		f(t, w, func(prefix string) { store.SetPlan(loses(prefix, 5)) })
	})
}

// TestOutcomeOfAnOpenTurn: a turn that has called others is not undone when its
// last commit fails, and nobody is told so.
func TestOutcomeOfAnOpenTurn(t *testing.T) {
	losing(t, func(t *testing.T, w *world, lose func(string)) {
		ctx := testContext(t)
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, 0, "b")
		w.chain("chain", step{b, &probev1.AddRequest{Amount: 1}})
		lose("n/")
		_, err := a.Add(ctx, &probev1.AddRequest{Amount: 1, Script: "chain"})
		wantOutcome(t, err, guarantee.MaybeExecuted)
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
	})
}

// TestDeadlineBetweenTwoCalls: a deadline of the handler's own that passes just
// before a call is made is no answer either.
func TestDeadlineBetweenTwoCalls(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b, c := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b"), w.counterOn(0, 0, "c")
		first := true
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			if first {
				first = false
				<-ctx.Done()
			}
			_, err := counterFrom(self, key(c)).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
			return err
		})
		_, _ = a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
		for _, pid := range []probev1cajun.CounterPid{a, b, c} {
			w.sumOf(t, pid, 1)
		}
	})
}

// TestOpenTurnBeforeOthers: an actor without state, too, ends a turn that has
// called others before it takes the next message.
func TestOpenTurnBeforeOthers(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		x, b := w.echoOn(0, owner, "x"), w.counterOn(0, 1, "b")
		gate := w.hold("wait")
		var order []string
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			if order = append(order, "chain"); len(order) == 1 {
				gate.entered <- struct{}{}
				<-gate.open
				panic("rehearsed")
			}
			return nil
		})
		w.on("other", func(context.Context, *cajun.Self) error { order = append(order, "other"); return nil })
		echo := func(text string) <-chan answer[*probev1.EchoReply] {
			return async(func() (*probev1.EchoReply, error) { return x.Echo(ctx, &probev1.EchoRequest{Text: text}) })
		}
		one := echo("chain")
		receive(t, "the chain has called b", gate.entered)
		two := echo("other")
		synctest.Wait()
		gate.release()
		receive(t, "the first call has its end", one)
		receive(t, "the second call has its end", two)
		if got := strings.Join(order, " "); got != "chain chain other" {
			t.Errorf("the order is %s", got)
		}
	})
}

// TestGoexitInAnOpenTurn: a turn whose handler ends its goroutine after it has
// called others is run again, though nobody asks.
func TestGoexitInAnOpenTurn(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 0, "b")
		w.on("ends", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			if w.runsOf(key(a)) < 4 {
				runtime.Goexit()
			}
			return nil
		})
		_, err := a.Add(testContext(t), &probev1.AddRequest{Amount: 1, Script: "ends"})
		wantOutcome(t, err, guarantee.MaybeExecuted)
		during(10 * time.Minute)
		if n := w.runsOf(key(a)); n != 4 {
			t.Errorf("the handler ran %d times", n)
		}
		w.sumOf(t, b, 1)
	})
}

// TestTimeOfLaterRuns: a turn that is run again has as much time as its caller
// has given it.
func TestTimeOfLaterRuns(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, 2*owner, "b")
		called := make(chan struct{}, 100)
		w.on("slow", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			called <- struct{}{}
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "slow"})
		})
		receive(t, "b was called", called)
		w.Kill(1)
		during(3 * time.Minute)
		if r := receive(t, "the call is answered", call); r.err != nil {
			t.Error(r.err)
		}
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
	})
}

// TestManyLargeAnswers: a turn that gets more answers from one actor than that
// one can keep has an end.
func TestManyLargeAnswers(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, e := w.counterOn(0, owner, "a"), w.echoOn(0, 1, "e")
		w.on("read", func(ctx context.Context, self *cajun.Self) error {
			for range 12 {
				if _, err := probev1cajun.NewEchoPid(self, key(e)).EchoOnce(ctx, &probev1.EchoRequest{Payload: make([]byte, 100<<10)}); err != nil {
					return err
				}
			}
			return nil
		})
		_, err := a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "read"})
		wantOutcome(t, err, guarantee.Answered, "too large")
		w.wantAnswers(t, a)
	})
}

// TestRefusedAfterItHappened: a call that had its effect, unknown to the turn
// that has made it, is not taken for one that was refused when the turn is run
// again.
func TestRefusedAfterItHappened(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		tap := newTap()
		w := newWorld(t, 3, cajun.WithTransport(tap))
		ctx := testContext(t)
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, 2, "b")
		two := w.Node(2).ID()
		handled := make(chan struct{}, 10)
		w.on("note", func(context.Context, *cajun.Self) error { handled <- struct{}{}; return nil })
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "note"})
			return err
		})
		tap.watch(func(from string, f link.Frame) bool { return from != two || f.Response == nil })
		call := async(func() (*probev1.AddReply, error) {
			return a.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "chain"})
		})
		receive(t, "b has handled the call", handled)
		during(5 * time.Second)
		w.hook = func(_ context.Context, self *cajun.Self) error {
			if self.Key() == key(b) {
				return errRehearsed
			}
			return nil
		}
		w.Kill(2)
		tap.watch(nil)
		if r := receive(t, "the call is answered", call); r.err != nil {
			t.Error(r.err)
		}
		w.hook = nil
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
	})
}

// TestRefusedForGood: a turn that was ended by a crash after its first call, and
// whose second one nobody can take any more, has an end.
func TestRefusedForGood(t *testing.T) {
	var made sync.Map // by caller
	sometimes := cajun.WithOutbound(func(next cajun.Invoker) cajun.Invoker {
		return func(ctx context.Context, call cajun.Call, req proto.Message) (proto.Message, error) {
			if r, ok := req.(*probev1.AddRequest); ok && r.GetScript() == "forbidden" {
				if _, again := made.LoadOrStore(call.Peer, true); again {
					return nil, connect.NewError(connect.CodePermissionDenied, "not allowed")
				}
			}
			return next(ctx, call, req)
		}
	})
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b")
		w.on("chain", func(ctx context.Context, self *cajun.Self) error {
			_, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "forbidden"})
			if w.runsOf(key(a)) == 1 {
				panic("rehearsed")
			}
			return err
		})
		_, err := a.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "chain"})
		wantOutcome(t, err, guarantee.Answered, "not allowed")
		w.wantAnswers(t, a)
		w.sumOf(t, b, 1) // it is not known to the turn, and the log says so
	}, sometimes)
}
