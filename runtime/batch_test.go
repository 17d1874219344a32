package cajun_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
)

// ledgerStore counts the commits of one actor and may refuse them.
type ledgerStore struct {
	state.Store
	mu     sync.Mutex
	key    string
	count  int
	refuse bool // the next commit
}

func (s *ledgerStore) Commit(ctx context.Context, commits []state.Commit) error {
	s.mu.Lock()
	i := slices.IndexFunc(commits, func(c state.Commit) bool { return c.Actor.Key == s.key })
	refuse := i >= 0 && s.refuse
	if i >= 0 {
		s.count++
		s.refuse = false
	}
	s.mu.Unlock()
	if refuse {
		return &state.ConflictError{Actor: commits[i].Actor}
	}
	return s.Store.Commit(ctx, commits)
}

// watch counts the commits of an actor from now on, and refuses the first.
func (s *ledgerStore) watch(key string, refuse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key, s.count, s.refuse = key, 0, refuse
}

func (s *ledgerStore) commits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// inBatches runs a test with an actor on the caller's node and with one on
// another.
func inBatches(t *testing.T, f func(t *testing.T, w *world, store *ledgerStore, pid probev1cajun.CounterPid)) {
	t.Parallel()
	for owner, name := range []string{"local", "remote"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				store := &ledgerStore{Store: memstate.New()}
				w := newWorld(t, 2, cajun.WithState(store))
				f(t, w, store, w.counterOn(0, owner, "a"))
			})
		})
	}
}

type addCall = func() (*probev1.AddReply, error)

// queued makes calls in order, behind a turn that waits, and lets them run one
// after the other. It returns their answers, that of the first turn first.
func queued(t *testing.T, w *world, store *ledgerStore, pid probev1cajun.CounterPid, refuse bool, calls ...addCall) (answers []<-chan answer[*probev1.AddReply]) {
	t.Helper()
	door := w.hold("door")
	for _, call := range append([]addCall{func() (*probev1.AddReply, error) {
		return pid.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "door"})
	}}, calls...) {
		answers = append(answers, async(call))
		synctest.Wait()
	}
	store.watch(key(pid), refuse)
	door.release()
	return answers
}

// TestQueuedTurnsShareACommit: each gets its own answer, which a repeat gets
// too, after the actor was loaded anew.
func TestQueuedTurnsShareACommit(t *testing.T) {
	inBatches(t, func(t *testing.T, w *world, store *ledgerStore, pid probev1cajun.CounterPid) {
		w.on("fail", func(context.Context, *cajun.Self) error { return errRehearsed })
		label := map[string]int64{"l": 1}
		keyed := func() (*probev1.AddReply, error) {
			return pid.AddOnce(cajun.Idempotent(testContext(t), "mine"), &probev1.AddRequest{Amount: 1, Labels: label})
		}
		answers := queued(t, w, store, pid, false,
			func() (*probev1.AddReply, error) {
				return pid.Add(testContext(t), &probev1.AddRequest{Amount: 1, Labels: label})
			},
			keyed,
			func() (*probev1.AddReply, error) {
				return pid.AddOnce(testContext(t), &probev1.AddRequest{Amount: 1, Script: "fail"})
			},
			func() (*probev1.AddReply, error) { return pid.Get(testContext(t), &probev1.GetRequest{}) })
		for i, want := range []int64{1, 2, 3, 0, 3} {
			if got := receive(t, "an answer", answers[i]); got.value.GetSum() != want || (got.err != nil) != (i == 3) {
				t.Errorf("answer %d: %v, %v", i, got.value, got.err)
			} else if i == 1 && got.value.GetByLabel()["l"] != 1 {
				t.Errorf("a later turn changed an earlier reply: %v", got.value)
			}
		}
		if n := store.commits(); n != 1 {
			t.Errorf("%d commits", n)
		}
		time.Sleep(10 * time.Second) // passivated
		if r, err := keyed(); err != nil || r.GetSum() != 3 {
			t.Errorf("the repeat: %v, %v", r, err)
		}
		wantSum(t, pid, 3, 3)
	})
}

// TestLostBatch: when the commit is refused, nobody is told what was in it, the
// readers included.
func TestLostBatch(t *testing.T) {
	inBatches(t, func(t *testing.T, w *world, store *ledgerStore, pid probev1cajun.CounterPid) {
		answers := queued(t, w, store, pid, true,
			func() (*probev1.AddReply, error) { return pid.Add(testContext(t), &probev1.AddRequest{Amount: 1}) },
			func() (*probev1.AddReply, error) { return pid.Get(testContext(t), &probev1.GetRequest{}) })
		for _, c := range answers[1:] {
			wantOutcome(t, receive(t, "an answer", c).err, guarantee.NotCommitted)
		}
		// The first is EXACTLY_ONCE and was sent again.
		if got := receive(t, "the first answer", answers[0]); got.err != nil || got.value.GetSum() != 1 {
			t.Errorf("the first: %v, %v", got.value, got.err)
		}
		wantSum(t, pid, 1, 1)
	})
}

// TestNothingTellsOfWhatIsNotStored: a call that a handler makes waits until the
// turns before are stored, is not made when they cannot be, and its turn is
// undone then.
func TestNothingTellsOfWhatIsNotStored(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprint("refused ", refuse), func(t *testing.T) {
			inBatches(t, func(t *testing.T, w *world, store *ledgerStore, pid probev1cajun.CounterPid) {
				stored := -1
				w.on("listen", func(context.Context, *cajun.Self) error { stored = store.commits(); return nil })
				w.on("tell", func(ctx context.Context, self *cajun.Self) error {
					_, err := probev1cajun.NewEchoPid(self, "listener").Echo(ctx, &probev1.EchoRequest{Text: "listen"})
					if refuse {
						wantOutcome(t, err, guarantee.NotExecuted, "could not be stored")
						return nil
					}
					return err
				})
				answers := queued(t, w, store, pid, refuse, func() (*probev1.AddReply, error) {
					return pid.Add(testContext(t), &probev1.AddRequest{Amount: 1, Script: "tell"})
				})
				told := receive(t, "the answer", answers[1])
				if got := receive(t, "the first answer", answers[0]); got.err != nil {
					t.Error(got.err)
				}
				if refuse {
					wantOutcome(t, told.err, guarantee.NotCommitted)
					wantSum(t, pid, 1, 1)
				} else if told.err != nil || stored != 1 {
					t.Errorf("%v; told after %d commits", told.err, stored)
				}
			})
		})
	}
}

// TestSlowTurnsHoldNobodyUp: the answer of a turn does not wait for a slow one
// behind it, nor for one that panics.
func TestSlowTurnsHoldNobodyUp(t *testing.T) {
	inBatches(t, func(t *testing.T, w *world, store *ledgerStore, pid probev1cajun.CounterPid) {
		slow := w.hold("slow")
		w.on("panic", func(context.Context, *cajun.Self) error { panic("ouch") })
		script := func(name string) addCall {
			return func() (*probev1.AddReply, error) {
				return pid.AddOnce(shortContext(t), &probev1.AddRequest{Amount: 1, Script: name})
			}
		}
		answers := queued(t, w, store, pid, false, script("slow"), script("panic"),
			func() (*probev1.AddReply, error) { return pid.Get(testContext(t), &probev1.GetRequest{}) })
		if got := receive(t, "the answer", answers[0]); got.err != nil || store.commits() != 1 {
			t.Errorf("%v after %d commits", got.err, store.commits())
		}
		slow.release()
		if got := receive(t, "the slow answer", answers[1]); got.err != nil || got.value.GetSum() != 2 {
			t.Errorf("%v, %v", got.value, got.err)
		}
		if got := receive(t, "the failure", answers[2]); got.err == nil {
			t.Errorf("%v", got.value)
		}
		if got := receive(t, "what a reader sees", answers[3]); got.err != nil || got.value.GetSum() != 2 {
			t.Errorf("after the panic: %v, %v", got.value, got.err)
		}
		wantSum(t, pid, 2, 2)
	})
}

// shortContext ends soon, for calls that are repeated in vain.
func shortContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	t.Cleanup(cancel)
	return ctx
}
