package cajun_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// TestPassivation follows one actor through idle times.
func TestPassivation(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := t.Context()
		pid := w.counterOn(0, owner, "a")
		hook := func() string { return w.hooksOf(key(pid)) }
		time.Sleep(5 * time.Second)
		synctest.Wait()
		w.forgetHooks()
		if _, err := pid.Get(ctx, &probev1.GetRequest{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if hook() != "+-" {
			t.Fatalf("idle: %s", w.noted())
		}
		w.forgetHooks()
		// Used again and again, it stays.
		for range 10 {
			if _, err := pid.Get(ctx, &probev1.GetRequest{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1500 * time.Millisecond)
		}
		if hook() != "+" {
			t.Fatalf("in use: %s", w.noted())
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if hook() != "+-" {
			t.Fatalf("idle again: %s", w.noted())
		}
		// A turn that takes longer than the timeout is not idle.
		w.on("long", func(context.Context, *cajun.Self) error { time.Sleep(10 * time.Second); return nil })
		if _, err := pid.Add(ctx, &probev1.AddRequest{Script: "long"}); err != nil {
			t.Fatal(err)
		}
		if hook() != "+-+" {
			t.Fatalf("busy: %s", w.noted())
		}
	})
}

// TestCallsWhenIdle calls actors in the very moments in which they have been idle
// for long enough: one that a call reached first stays, however close it was.
func TestCallsWhenIdle(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		var mu sync.Mutex
		last := map[string]time.Time{} // when an actor's last turn was
		w.on("turn", func(_ context.Context, self *cajun.Self) error {
			mu.Lock()
			defer mu.Unlock()
			last[self.Key()] = time.Now()
			return nil
		})
		left, early := 0, 0
		w.leaving = func(key string) {
			mu.Lock()
			defer mu.Unlock()
			left++
			if time.Since(last[key]) < time.Second {
				early++
			}
		}
		var all sync.WaitGroup
		for k := range 50 {
			all.Go(func() {
				pid := probev1cajun.NewCounterPid(w.Node(0), fmt.Sprint(k))
				for range 20 {
					if _, err := pid.Add(t.Context(), &probev1.AddRequest{Script: "turn"}); err != nil {
						t.Error(err)
					}
					time.Sleep(2 * time.Second)
				}
			})
		}
		all.Wait()
		mu.Lock()
		defer mu.Unlock()
		if early > 0 || left == 0 {
			t.Errorf("%d actors left memory, %d of them right after a turn", left, early)
		}
	})
}

// TestSelfPassivate asks for passivation with messages in the mailbox, and
// sends more while OnPassivate runs.
func TestSelfPassivate(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		s := newStage()
		leaving, leave := make(chan struct{}, 1), make(chan struct{})
		c := cajuntest.Start(t, 1, probev1cajun.HostEcho(func(self *cajun.Self) (*fragile, error) {
			s.note("+")
			return &fragile{
				echo:       &echo{stage: s, self: self},
				onActivate: func() error { return nil },
				onPassivate: func() error {
					s.note("-")
					leaving <- struct{}{}
					<-leave
					return errors.New("logged and no more")
				},
			}, nil
		}))
		pid := probev1cajun.NewEchoPid(c.Node(0), "a")
		entered, proceed := make(chan struct{}), make(chan struct{})
		s.on("leave", func(_ context.Context, self *cajun.Self) error {
			self.Passivate()
			self.Passivate()
			close(entered)
			<-proceed
			return nil
		})
		s.on("queued", func(context.Context, *cajun.Self) error { s.note("queued"); return nil })
		s.on("late", func(context.Context, *cajun.Self) error { s.note("late"); return nil })
		call := func(text string) <-chan answer[*probev1.EchoReply] {
			return async(func() (*probev1.EchoReply, error) { return pid.Echo(t.Context(), &probev1.EchoRequest{Text: text}) })
		}
		first := call("leave")
		<-entered
		queued := call("queued")
		synctest.Wait()
		close(proceed)
		<-leaving
		late := call("late")
		synctest.Wait()
		if got := s.noted(); got != "+ queued -" {
			t.Errorf("while it leaves: %s", got)
		}
		close(leave)
		for _, done := range []<-chan answer[*probev1.EchoReply]{first, queued, late} {
			if r := <-done; r.err != nil {
				t.Error(r.err)
			}
		}
		synctest.Wait()
		if got := s.noted(); got != "+ queued - + late" {
			t.Errorf("order %s", got)
		}
		self := cajun.NewSelf(c.Node(0), "kind", "key")
		self.Passivate()
		if self.Kind() != "kind" || self.Key() != "key" || self.Epoch() != 0 || self.Logger() == nil {
			t.Error("a bare Self is not what NewSelf was told")
		}
	})
}

// TestPassivationUnderLoad sends messages all the time while actors leave all
// the time: none is lost, none runs twice.
func TestPassivationUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.on("leave", func(_ context.Context, self *cajun.Self) error { self.Passivate(); return nil })
	const callers, each = 4, 100
	errs := make(chan error, callers)
	for i := range callers {
		go func() {
			pid := probev1cajun.NewCounterPid(w.Node(i%2), "a")
			for range each {
				if _, err := pid.Add(testContext(t), &probev1.AddRequest{Amount: 1, Script: "leave"}); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range callers {
		if err := receive(t, "a caller", errs); err != nil {
			t.Error(err)
		}
	}
	wantSum(t, probev1cajun.NewCounterPid(w.Node(0), "a"), callers*each, callers*each)
}

// TestOnPassivateWhenDraining expects the hook before the shard is handed on.
func TestOnPassivateWhenDraining(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		pid := w.counterOn(0, 1, "a")
		g := w.hold("hold")
		running := async(func() (*probev1.AddReply, error) {
			return pid.Add(t.Context(), &probev1.AddRequest{Amount: 1, Script: "hold"})
		})
		<-g.entered
		var queued []<-chan answer[*probev1.AddReply]
		for range 3 {
			queued = append(queued, async(func() (*probev1.AddReply, error) { return pid.Add(t.Context(), &probev1.AddRequest{Amount: 1}) }))
		}
		synctest.Wait()
		w.forgetHooks()
		drained := async(func() (struct{}, error) { return struct{}{}, w.Node(1).Drain(testContext(t)) })
		synctest.Wait()
		time.Sleep(time.Second)
		g.release()
		if r := <-drained; r.err != nil {
			t.Fatal(r.err)
		}
		if r := <-running; r.err != nil {
			t.Errorf("the turn that ran: %v", r.err)
		}
		for _, q := range queued {
			if r := <-q; r.err != nil {
				t.Errorf("a queued call: %v", r.err)
			}
		}
		wantSum(t, pid, 4, 4)
		if got := w.hooksOf(key(pid)); got != "-+" {
			t.Errorf("hooks %s, want -+", got)
		}
	})
}

// TestSuspendedNodeIsSilent pauses an owner whose turn runs: it may neither
// start turns nor answer once its lease may have run out.
func TestSuspendedNodeIsSilent(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		pid := w.counterOn(1, 1, "a") // the caller and the actor are on the node that will be cut off
		other := w.counterOn(1, 1, "b")
		g := w.hold("hold")
		during := async(func() (*probev1.AddReply, error) {
			return pid.Add(t.Context(), &probev1.AddRequest{Amount: 1, Script: "hold"})
		})
		<-g.entered
		w.Pause(1)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if w.Node(1).Ready() == nil {
			t.Fatal("the node does not know that its lease is over")
		}
		before := w.runsOf(key(pid))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := other.Add(short, &probev1.AddRequest{Amount: 1})
		wantOutcome(t, err, guarantee.NotExecuted)
		g.release()
		synctest.Wait()
		select {
		case r := <-during:
			t.Errorf("a suspended node answered: %v, %v", r.value, r.err)
		default:
		}
		if n := w.runsOf(key(pid)) - before + w.runsOf(key(other)); n != 0 {
			t.Errorf("a suspended node ran %d turns", n)
		}
		// Others take over meanwhile.
		there := probev1cajun.NewCounterPid(w.Node(0), key(pid))
		if _, err := there.AddSure(testContext(t), &probev1.AddRequest{Amount: 10}); err != nil {
			t.Fatal(err)
		}
		w.Resume(1)
		r := <-during
		wantOutcome(t, r.err, guarantee.MaybeExecuted)
		if got, err := there.Get(testContext(t), &probev1.GetRequest{}); err != nil || got.GetSum() != 10 {
			t.Errorf("%v, %v, want 10 and nothing of the deposed node", got, err)
		}
	})
}
