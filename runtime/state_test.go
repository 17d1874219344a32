package cajun_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
	"github.com/cajun-go/cajun/state/statetest"
)

// wantSum checks a counter's state.
func wantSum(t testing.TB, pid probev1cajun.CounterPid, sum, runs int64) {
	t.Helper()
	r, err := pid.Get(testContext(t), &probev1.GetRequest{})
	if err != nil || r.GetSum() != sum || r.GetRuns() != runs {
		t.Errorf("sum %d after %d runs (%v), want %d after %d", r.GetSum(), r.GetRuns(), err, sum, runs)
	}
}

// TestStateIsPutBack undoes what failed turns did, map entries included.
func TestStateIsPutBack(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		w.on("fail", func(context.Context, *cajun.Self) error { return errRehearsed })
		w.on("panic", func(context.Context, *cajun.Self) error { panic("ouch") })
		w.on("give up", func(ctx context.Context, _ *cajun.Self) error { <-ctx.Done(); return ctx.Err() })
		ctx := testContext(t)
		pid := w.counterOn(0, owner, "a")
		labels := map[string]int64{"x": 1, "y": 1}
		if _, err := pid.Add(ctx, &probev1.AddRequest{Amount: 7, Labels: labels}); err != nil {
			t.Fatal(err)
		}
		for _, script := range []string{"fail", "panic", "give up"} {
			for _, call := range []func(context.Context, *probev1.AddRequest) (*probev1.AddReply, error){pid.Add, pid.AddSure, pid.AddOnce} {
				short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				if _, err := call(short, &probev1.AddRequest{Amount: 100, Script: script, Labels: labels}); err == nil {
					t.Errorf("%s: no error", script)
				}
				cancel()
				synctest.Wait()
				wantSum(t, pid, 7, 1)
			}
		}
		r, err := pid.Get(ctx, &probev1.GetRequest{Script: "scribble"})
		if err != nil || r.GetSum() != -1 {
			t.Errorf("scribble: %v, %v", r, err)
		}
		wantSum(t, pid, 7, 1)
		if r, err = pid.Add(ctx, &probev1.AddRequest{Labels: labels}); err != nil || r.GetByLabel()["x"] != 2 || len(r.GetByLabel()) != 2 {
			t.Errorf("labels: %v, %v", r, err)
		}
		// The state is what the store has, not only what memory has.
		time.Sleep(time.Minute)
		synctest.Wait()
		wantSum(t, pid, 7, 2)
	})
}

func TestStateSurvivesPassivation(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		pid := w.counterOn(0, owner, "a")
		for i := range int64(5) {
			if _, err := pid.Add(testContext(t), &probev1.AddRequest{Amount: 1}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second) // the idle timeout is two
			synctest.Wait()
			if hooks := w.hooksOf(key(pid)); hooks[len(hooks)-1] != '-' {
				t.Errorf("not passivated: %s", hooks)
			}
			wantSum(t, pid, i+1, i+1)
		}
	})
}

// TestStateSurvivesNodes moves a counter about by every means.
func TestStateSurvivesNodes(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		ctx := testContext(t)
		pid := w.counterOn(0, 1, "a")
		sum := int64(0)
		add := func(what string) {
			t.Helper()
			sum++
			if _, err := pid.AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			wantSum(t, pid, sum, sum)
		}
		add("at first")
		epoch, _ := w.Node(0).Cluster().Owner(pid)
		w.Kill(1)
		ctx = testContext(t)
		add("after the owner's death")
		w.Restart(1)
		ctx = testContext(t)
		add("after its restart")
		owner := w.Owner(pid)
		if owner > 0 {
			if err := w.Node(owner).Drain(testContext(t)); err != nil {
				t.Fatal(err)
			}
			ctx = testContext(t)
			add("after a drain")
			w.Restart(owner)
		}
		ctx = testContext(t)
		add("at last")
		if now, _ := w.Node(0).Cluster().Owner(pid); now.Epoch <= epoch.Epoch {
			t.Errorf("epoch %d, once %d", now.Epoch, epoch.Epoch)
		}
		for i := range 3 {
			w.Kill(i)
		}
		w.Restart(0)
		pid = probev1cajun.NewCounterPid(w.Node(0), key(pid))
		ctx = testContext(t)
		add("after all have died")
	})
}

// TestStateTooLarge grows a state beyond what a turn may commit.
func TestStateTooLarge(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		pid := w.counterOn(0, owner, "a")
		for _, call := range []func(context.Context, *probev1.AddRequest) (*probev1.AddReply, error){pid.Add, pid.AddSure, pid.AddOnce} {
			_, err := call(ctx, &probev1.AddRequest{Amount: 1, Script: "grow"})
			wantOutcome(t, err, guarantee.NotCommitted, "too large", "undone")
			if connect.CodeOf(err) != connect.CodeResourceExhausted {
				t.Errorf("code of %v", err)
			}
		}
		wantSum(t, pid, 0, 0)
	})
}

// TestUncertainCommits loses, hides and delays writes: what callers are told
// must be what is stored, and the calls above AT_MOST_ONCE succeed.
func TestUncertainCommits(t *testing.T) {
	t.Parallel()
	for _, fate := range []statetest.Fate{statetest.Lose, statetest.Hide, statetest.Late} {
		t.Run(fmt.Sprint(fate), func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				store := statetest.NewUnreliable(memstate.New(), nil)
				w := newWorld(t, 2, cajun.WithState(store))
				pid := w.counterOn(0, 1, "a")
				for i := range int64(4) {
					store.SetPlan(statetest.CommitScript(fate))
					if _, err := pid.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1}); err != nil {
						t.Fatal(err)
					}
					store.SetPlan(nil)
					if r, err := pid.Get(testContext(t), &probev1.GetRequest{}); err != nil || r.GetSum() != i+1 {
						t.Errorf("%v, %v, want %d", r, err, i+1)
					}
				}
			})
		})
	}
}

// fencedStore refuses commits as if another owner had sealed the shard.
type fencedStore struct {
	state.Store
	refuse func(state.Commit) bool
}

func (s *fencedStore) Commit(ctx context.Context, cs []state.Commit) error {
	for _, c := range cs {
		if s.refuse != nil && s.refuse(c) {
			return &state.FencedError{Shard: c.Actor.Shard, Current: state.Fence{Epoch: c.Fence.Epoch + 1, Session: "another"}}
		}
	}
	return s.Store.Commit(ctx, cs)
}

// TestFencedCommit checks what a caller learns when the owner was deposed
// during the turn, and that nobody sees the refused state.
func TestFencedCommit(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		store := &fencedStore{Store: memstate.New()}
		w := newWorld(t, 2, cajun.WithState(store))
		pid := w.counterOn(0, 1, "a")
		store.refuse = func(state.Commit) bool { store.refuse = nil; return true }
		_, err := pid.Add(testContext(t), &probev1.AddRequest{Amount: 1})
		if o := cajun.OutcomeOf(err); err == nil || o == guarantee.NotExecuted || o == guarantee.Answered {
			t.Errorf("outcome %v of %v", o, err)
		}
		wantSum(t, pid, 0, 0)
		store.refuse = func(state.Commit) bool { store.refuse = nil; return true }
		if _, err := pid.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1}); err != nil {
			t.Errorf("not repeated: %v", err)
		}
		wantSum(t, pid, 1, 1)
	})
}
