package cajun_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// TestRepeatsGetTheStoredAnswer loses the first answers on the way and looks
// at the frames: the repeat's answer has the same bytes, and one run made it.
func TestRepeatsGetTheStoredAnswer(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"", "fail"} {
		t.Run("script "+script, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				wire := newTap()
				w := newWorld(t, 2, cajun.WithTransport(wire))
				w.on("fail", func(context.Context, *cajun.Self) error { return errRehearsed })
				pid := w.counterOn(0, 1, "a")
				var answers [][]byte
				wire.watch(func(_ string, f link.Frame) bool {
					if f.Response == nil {
						return true
					}
					answers = append(answers, append([]byte(f.Response.Message), f.Response.Payload...))
					return len(answers) == 3 // the third gets through
				})
				labels := map[string]int64{}
				for i := range int64(20) {
					labels[fmt.Sprint("label", i)] = i
				}
				r, err := pid.AddOnce(t.Context(), &probev1.AddRequest{Amount: 1, Labels: labels, Script: script})
				wire.watch(nil)
				if len(answers) != 3 || !bytes.Equal(answers[0], answers[1]) || !bytes.Equal(answers[1], answers[2]) || len(answers[0]) == 0 {
					t.Errorf("answers differ: %q", answers)
				}
				if n := w.runsOf(key(pid)); n != 1 {
					t.Errorf("the handler ran %d times", n)
				}
				if script == "fail" {
					wantOutcome(t, err, guarantee.Answered, errRehearsed.Error())
					wantSum(t, pid, 0, 0)
				} else {
					if err != nil || r.GetSum() != 1 || len(r.GetByLabel()) != 20 {
						t.Errorf("%v, %v", r, err)
					}
					wantSum(t, pid, 1, 1)
				}
			})
		})
	}
}

// TestRepeatAfterPassivation lets the actor leave memory between a call and
// its repeat.
func TestRepeatAfterPassivation(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		wire := newTap()
		w := newWorld(t, 2, cajun.WithTransport(wire))
		w.on("leave", func(_ context.Context, self *cajun.Self) error { self.Passivate(); return nil })
		stateful, stateless := w.counterOn(0, 1, "a"), w.echoOn(0, 1, "b")
		for name, run := range map[string]func(context.Context) error{
			"stateful": func(ctx context.Context) error {
				_, err := stateful.AddOnce(ctx, &probev1.AddRequest{Script: "leave"})
				return err
			},
			"stateless": func(ctx context.Context) error {
				_, err := stateless.EchoOnce(ctx, &probev1.EchoRequest{Text: "leave"})
				return err
			},
		} {
			before, swallowed := len(w.calls()), 0
			wire.watch(func(_ string, f link.Frame) bool {
				if f.Response == nil || swallowed > 2 || len(w.calls()) == before {
					return true
				}
				swallowed++
				return false
			})
			if err := run(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			once := 0
			for _, c := range w.calls() {
				if c.Level == guarantee.ExactlyOnce && c.Kind == map[string]string{"stateful": probev1cajun.CounterKind, "stateless": probev1cajun.EchoKind}[name] {
					once++
				}
			}
			if once != 1 {
				t.Errorf("%s: ran %d times", name, once)
			}
		}
		wire.watch(nil)
	})
}

// TestRepeatOfARunningCall sends a call again while its handler runs: the
// repeat waits, and nothing runs twice, at any level that repeats.
func TestRepeatOfARunningCall(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		pid := w.echoOn(0, owner, "a")
		for level, call := range map[string]func(context.Context, *probev1.EchoRequest) (*probev1.EchoReply, error){
			"at least once": pid.EchoSure,
			"exactly once":  pid.EchoOnce,
			"by key": func(ctx context.Context, r *probev1.EchoRequest) (*probev1.EchoReply, error) {
				return pid.Echo(cajun.Idempotent(ctx, "key"), r)
			},
		} {
			w.on("slow", func(context.Context, *cajun.Self) error { time.Sleep(20 * time.Second); return nil })
			before := w.runsOf(key(pid))
			if _, err := call(t.Context(), &probev1.EchoRequest{Text: "slow"}); err != nil {
				t.Errorf("%s: %v", level, err)
			}
			synctest.Wait()
			if n := w.runsOf(key(pid)) - before; n != 1 {
				t.Errorf("%s: %d runs", level, n)
			}
		}
	})
}

// TestSharedKey lets two callers use one key at the same time. The first one
// leaves, and the second must not suffer.
func TestSharedKey(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		w.on("patient", func(ctx context.Context, _ *cajun.Self) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(5 * time.Second):
				return nil
			}
		})
		here := w.counterOn(0, owner, "a")
		there := probev1cajun.NewCounterPid(w.Node(2), key(here))
		req := &probev1.AddRequest{Amount: 1, Script: "patient"}
		ctx, cancel := context.WithCancel(t.Context())
		first := async(func() (*probev1.AddReply, error) { return here.Add(cajun.Idempotent(ctx, "shared"), req) })
		synctest.Wait()
		second := async(func() (*probev1.AddReply, error) { return there.Add(cajun.Idempotent(t.Context(), "shared"), req) })
		time.Sleep(2 * time.Second) // it was sent more than once
		cancel()
		if r := <-first; connect.CodeOf(r.err) != connect.CodeCanceled {
			t.Error(r.err)
		}
		if r := <-second; r.err != nil {
			t.Errorf("the caller who stayed: %v", r.err)
		}
		wantSum(t, here, 1, 1)
	})
}

// TestOneKeyTwoMethods uses a key for two methods of an actor at once: these
// are two calls.
func TestOneKeyTwoMethods(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		w.on("slow", func(context.Context, *cajun.Self) error { time.Sleep(3 * time.Second); return nil })
		pid := w.counterOn(0, owner, "a")
		other := async(func() (*probev1.AddReply, error) {
			return pid.Add(cajun.Idempotent(t.Context(), "k"), &probev1.AddRequest{Amount: 1, Script: "slow"})
		})
		synctest.Wait()
		r, err := pid.AddSure(cajun.Idempotent(t.Context(), "k"), &probev1.AddRequest{Amount: 10, Script: "slow"})
		if err != nil || r.GetSum() != 11 {
			t.Errorf("%v, %v, want 11", r, err)
		}
		if r := <-other; r.err != nil || r.value.GetSum() != 1 {
			t.Errorf("%v, %v, want 1", r.value, r.err)
		}
		wantSum(t, pid, 11, 2)
	})
}

// TestIdempotent repeats calls under a key from everywhere.
func TestIdempotent(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		pid := w.counterOn(0, 1, "a")
		labels := map[string]int64{}
		for i := range int64(50) {
			labels[fmt.Sprint("label", i)] = i
		}
		call := func(from int, amount int64) (*probev1.AddReply, error) {
			// The handler changes its request, which is its own.
			return probev1cajun.NewCounterPid(w.Node(from), key(pid)).Add(cajun.Idempotent(testContext(t), "order 1"),
				&probev1.AddRequest{Amount: amount, Labels: labels, Script: "scribble"})
		}
		for round := range 5 {
			for from := range 3 {
				if r, err := call(from, 1); err != nil || r.GetSum() != 1 || r.GetRuns() != 1 {
					t.Fatalf("round %d from node %d: %v, %v", round, from, r, err)
				}
				_, err := call(from, 2)
				wantRefusal(t, err, connect.CodeInvalidArgument, "order 1", "other arguments", "new key")
			}
			if round == 1 {
				time.Sleep(10 * time.Second) // passivated
			}
			if round == 2 {
				w.Kill(1)
				w.Restart(1)
			}
			if round == 3 {
				if err := w.Node(w.Owner(pid)).Drain(testContext(t)); err != nil {
					t.Fatal(err)
				}
				for i := range 3 {
					select {
					case <-w.Node(i).Done():
						w.Restart(i)
					default:
					}
				}
			}
		}
		pid = probev1cajun.NewCounterPid(w.Node(0), key(pid))
		wantSum(t, pid, 1, 1)

		ctx := cajun.Idempotent(testContext(t), "bound")
		if _, err := pid.Add(ctx, &probev1.AddRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := pid.Add(ctx, &probev1.AddRequest{}); err != nil {
			t.Fatal(err)
		}
		_, err := pid.AddSure(ctx, &probev1.AddRequest{})
		wantRefusal(t, err, connect.CodeInvalidArgument, "was used for", "one context per call")
		_, err = probev1cajun.NewCounterPid(w.Node(0), "another").Add(ctx, &probev1.AddRequest{})
		wantRefusal(t, err, connect.CodeInvalidArgument, "was used for")
	})
}

// TestForgottenCalls lets a frame arrive that its caller has long given up.
func TestForgottenCalls(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		wire := newTap()
		w := newWorld(t, 3, cajun.WithTransport(wire))
		pid := w.counterOn(0, 1, "a")
		var stale *link.Request
		wire.watch(func(_ string, f link.Frame) bool {
			if f.Request == nil || f.Request.Method != "AddOnce" {
				return true
			}
			if stale == nil {
				copied := *f.Request
				copied.Payload = bytes.Clone(f.Request.Payload)
				stale = &copied
			}
			return false
		})
		_, err := pid.AddOnce(t.Context(), &probev1.AddRequest{Amount: 100})
		wantOutcome(t, err, guarantee.MaybeExecuted)
		var refusal *link.Response
		wire.watch(nil)
		if _, err := pid.AddOnce(t.Context(), &probev1.AddRequest{Amount: 1}); err != nil {
			t.Fatal(err)
		}
		wire.watch(func(_ string, f link.Frame) bool {
			if f.Response != nil {
				copied := *f.Response
				refusal = &copied
			}
			return true
		})
		// It comes by another way, as the frames of node 0 are counted.
		stale.Call.Session, stale.ID = w.Node(0).ID(), 1000
		wire.inject(w.Node(1).ID(), w.Node(2).ID(), link.Frame{Request: stale})
		synctest.Wait()
		if refusal == nil || refusal.Outcome != guarantee.NotExecuted || !strings.Contains(refusal.Message, "forgotten") {
			t.Errorf("the late frame was answered with %+v", refusal)
		}
		wire.watch(nil)
		wantSum(t, pid, 1, 1)
	})
}

// TestOutstanding makes 65 calls at once: the last one waits at the sender.
func TestOutstanding(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		wire := newTap()
		w := newWorld(t, 2, cajun.WithTransport(wire))
		pid, other := w.echoOn(0, 1, "a"), w.echoOn(0, 1, "b")
		sent := map[uint64]bool{}
		wire.watch(func(_ string, f link.Frame) bool {
			if f.Request == nil || f.Request.Key != key(pid) {
				return true
			}
			sent[f.Request.Call.Sequence] = true
			return false
		})
		ctx, cancel := context.WithCancel(t.Context())
		var calls []<-chan answer[*probev1.EchoReply]
		for range guarantee.MaxOutstanding {
			calls = append(calls, async(func() (*probev1.EchoReply, error) { return pid.EchoOnce(ctx, &probev1.EchoRequest{}) }))
		}
		synctest.Wait()
		late := async(func() (*probev1.EchoReply, error) { return pid.EchoOnce(t.Context(), &probev1.EchoRequest{}) })
		short, cancelShort := context.WithTimeout(t.Context(), time.Second)
		defer cancelShort()
		_, err := pid.EchoOnce(short, &probev1.EchoRequest{})
		wantRefusal(t, err, connect.CodeDeadlineExceeded, "too many calls")
		synctest.Wait()
		if len(sent) != guarantee.MaxOutstanding {
			t.Errorf("%d calls were sent, want %d", len(sent), guarantee.MaxOutstanding)
		}
		if _, err := other.EchoOnce(t.Context(), &probev1.EchoRequest{}); err != nil {
			t.Errorf("another actor has its own account: %v", err)
		}
		wire.watch(nil)
		cancel()
		for _, c := range calls {
			<-c
		}
		if r := <-late; r.err != nil {
			t.Errorf("the call that waited: %v", r.err)
		}
	})
}

// TestOnceThroughDeaths counts with EXACTLY_ONCE calls while nodes are killed,
// drained and restarted, and frames get lost, late and twice.
func TestOnceThroughDeaths(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t, 4)
				w.Faults(link.Faults{Seed: seed, Loss: 0.05, Duplicate: 0.1, Reorder: 0.1, Delay: 3 * time.Millisecond})
				const callers, actors = 4, 5 // no more callers than a mailbox holds
				var acknowledged [actors]atomic.Int64
				stop := make(chan struct{})
				done := make(chan error, callers)
				for i := range callers {
					go func() {
						for n := 0; ; n++ {
							select {
							case <-stop:
								done <- nil
								return
							case <-time.After(40 * time.Millisecond):
							}
							a := (i + n) % actors
							ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
							_, err := probev1cajun.NewCounterPid(w.Node(0), fmt.Sprint("a", a)).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
							cancel()
							if err != nil {
								done <- err
								return
							}
							acknowledged[a].Add(1)
						}
					}()
				}
				for i := range 6 {
					time.Sleep(700 * time.Millisecond)
					victim := 1 + i%3
					if i%2 == 0 {
						w.Kill(victim)
					} else if err := w.Node(victim).Drain(testContext(t)); err != nil {
						t.Error(err)
						w.Node(victim).Close()
					}
					time.Sleep(300 * time.Millisecond)
					w.Restart(victim)
				}
				close(stop)
				for range callers {
					if err := <-done; err != nil {
						t.Errorf("a call failed: %v", err)
					}
				}
				w.Faults(link.Faults{})
				total := int64(0)
				for a := range actors {
					want := acknowledged[a].Load()
					total += want
					wantSum(t, probev1cajun.NewCounterPid(w.Node(0), fmt.Sprint("a", a)), want, want)
				}
				if total < 50 {
					t.Errorf("only %d calls were made", total)
				}
			})
		})
	}
}

// TestOutcomesCoverAllAttempts loses one attempt's answer and has the next one
// refused: the call may have run.
func TestOutcomesCoverAllAttempts(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		wire := newTap()
		w := newWorld(t, 2, cajun.WithTransport(wire))
		pid := w.echoOn(0, 1, "a")
		lost := 0
		wire.watch(func(_ string, f link.Frame) bool {
			if f.Response != nil && lost == 0 {
				lost++
				return false
			}
			return true
		})
		g := w.hold("hold")
		first := async(func() (*probev1.EchoReply, error) { return pid.EchoSure(t.Context(), &probev1.EchoRequest{}) })
		synctest.Wait()
		// The mailbox is full when the repeat comes.
		var calls []<-chan answer[*probev1.EchoReply]
		for range 5 {
			calls = append(calls, async(func() (*probev1.EchoReply, error) { return pid.Echo(t.Context(), &probev1.EchoRequest{Text: "hold"}) }))
			synctest.Wait()
		}
		r := <-first
		wantOutcome(t, r.err, guarantee.MaybeExecuted, "mailbox")
		g.release()
		for _, c := range calls {
			if r := <-c; r.err != nil {
				t.Error(r.err)
			}
		}
		// At most once is not repeated once it may have run.
		sent := 0
		wire.watch(func(_ string, f link.Frame) bool {
			if f.Request != nil {
				sent++
			}
			return f.Request == nil
		})
		_, err := pid.EchoQuick(t.Context(), &probev1.EchoRequest{})
		wantOutcome(t, err, guarantee.MaybeExecuted)
		if sent != 1 {
			t.Errorf("an AT_MOST_ONCE call was sent %d times", sent)
		}
		// EchoSure declares three attempts.
		sent = 0
		_, err = pid.EchoSure(t.Context(), &probev1.EchoRequest{})
		wantOutcome(t, err, guarantee.MaybeExecuted)
		if sent != 3 {
			t.Errorf("sent %d times, want the 3 that the method allows", sent)
		}
		wire.watch(nil)
	})
}
