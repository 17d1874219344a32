package cajun_test

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// sums is a stream of sums that a test takes one by one.
type sums struct {
	t    *testing.T
	next func() (*probev1.AddReply, error, bool)
	stop func()
}

func watch(ctx context.Context, t *testing.T, p probev1cajun.CounterPid, script string) *sums {
	t.Helper()
	events, err := p.Watch(ctx, &probev1.GetRequest{Script: script})
	if err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(events)
	t.Cleanup(stop)
	return &sums{t, next, stop}
}

// want takes as many events and compares them.
func (s *sums) want(sums ...int64) {
	s.t.Helper()
	for _, want := range sums {
		if e, err, ok := s.next(); !ok || err != nil || e.GetSum() != want {
			s.t.Fatalf("got %v, %v, %v; want the sum %d", e, err, ok, want)
		}
	}
}

// wantEnd takes the end, which is an error if code is not 0.
func (s *sums) wantEnd(code connect.Code, words ...string) {
	s.t.Helper()
	e, err, ok := s.next()
	switch {
	case code == 0 && ok:
		s.t.Fatalf("got %v, %v; want the end", e, err)
	case code == 0:
		return
	case !ok || err == nil || connect.CodeOf(err) != code:
		s.t.Fatalf("got %v, %v, %v; want %v", e, err, ok, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			s.t.Errorf("the error does not mention %q: %v", w, err)
		}
	}
	if e, err, ok := s.next(); ok {
		s.t.Errorf("after the end: %v, %v", e, err)
	}
}

// counting yields 1 to n, and tells how many it has.
func counting(n int64, yielded *atomic.Int64) func(context.Context) iter.Seq2[*probev1.AddReply, error] {
	return func(context.Context) iter.Seq2[*probev1.AddReply, error] {
		return func(yield func(*probev1.AddReply, error) bool) {
			for i := range n {
				yielded.Store(i + 1)
				if !yield(&probev1.AddReply{Sum: i + 1}, nil) {
					return
				}
			}
		}
	}
}

func TestStreamFollowsAnActor(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "followed")
		w.on("fail", func(context.Context, *cajun.Self) error { return errors.New("no") })
		add := func(amount int64, script string) {
			_, err := p.Add(ctx, &probev1.AddRequest{Amount: amount, Script: script})
			if (err != nil) != (script != "") {
				t.Fatal(err)
			}
		}
		add(1, "")
		early := watch(ctx, t, p, "")
		early.want(1)
		add(2, "")
		add(100, "fail") // is undone, and nobody is told
		late := watch(ctx, t, p, "")
		add(4, "")
		early.want(3, 7)
		late.want(3, 7)
		late.stop()
		add(8, "")
		early.want(15)
	})
}

func TestStreamEndsAsItsEventsDo(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "ending")
		var yielded atomic.Int64
		w.onWatch("three", counting(3, &yielded))
		ends := func(end func(yield func(*probev1.AddReply, error) bool)) func(context.Context) iter.Seq2[*probev1.AddReply, error] {
			return func(context.Context) iter.Seq2[*probev1.AddReply, error] {
				return func(yield func(*probev1.AddReply, error) bool) {
					if yield(&probev1.AddReply{Sum: 1}, nil) {
						end(yield)
					}
				}
			}
		}
		w.onWatch("error", ends(func(yield func(*probev1.AddReply, error) bool) {
			yield(nil, connect.NewError(connect.CodeOutOfRange, "enough"))
		}))
		w.onWatch("panic", ends(func(func(*probev1.AddReply, error) bool) { panic("events") }))
		w.onWatch("goexit", ends(func(func(*probev1.AddReply, error) bool) { runtime.Goexit() }))
		w.onWatch("nil", ends(func(yield func(*probev1.AddReply, error) bool) { yield(nil, nil) }))
		w.onWatch("huge", ends(func(yield func(*probev1.AddReply, error) bool) {
			yield(&probev1.AddReply{Padding: make([]byte, link.DefaultMaxMessage+1)}, nil)
		}))
		s := watch(ctx, t, p, "three")
		s.want(1, 2, 3)
		s.wantEnd(0)
		for script, end := range map[string]struct {
			code connect.Code
			word string
		}{
			"error":  {connect.CodeOutOfRange, "enough"},
			"panic":  {connect.CodeInternal, "panicked"},
			"goexit": {connect.CodeInternal, "ended their goroutine"},
			"nil":    {connect.CodeInternal, "nil"},
			"huge":   {connect.CodeResourceExhausted, "send less"},
		} {
			s := watch(ctx, t, p, script)
			s.want(1)
			s.wantEnd(end.code, end.word)
		}
	})
}

func TestStreamsThatAreNotOpened(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "refused")
		var life context.Context
		w.on("refuse", func(ctx context.Context, _ *cajun.Self) error {
			life = ctx
			return connect.NewError(connect.CodeAborted, "not now")
		})
		w.onWatch("none", func(context.Context) iter.Seq2[*probev1.AddReply, error] { return nil })
		_, err := p.Watch(t.Context(), &probev1.GetRequest{Script: "refuse"})
		wantOutcome(t, err, guarantee.Answered, "not now")
		if synctest.Wait(); life.Err() == nil {
			t.Error("the context of a stream that was not opened has not ended")
		}
		_, err = p.Watch(ctx, &probev1.GetRequest{Script: "none"})
		wantOutcome(t, err, guarantee.Answered, "neither events nor an error")
		_, err = p.Watch(cajun.Deliver(ctx, guarantee.AtLeastOnce), &probev1.GetRequest{})
		wantRefusal(t, err, connect.CodeInvalidArgument, "AT_MOST_ONCE", "without Deliver")
		_, err = p.Watch(cajun.Idempotent(ctx, "k"), &probev1.GetRequest{})
		wantRefusal(t, err, connect.CodeInvalidArgument, "AT_MOST_ONCE")

		// A handler that waits for ever, on a context that lasts as long as the stream.
		w.on("wait", func(ctx context.Context, _ *cajun.Self) error {
			<-ctx.Done()
			return ctx.Err()
		})
		began := time.Now()
		_, err = p.Watch(context.Background(), &probev1.GetRequest{Script: "wait"})
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded || time.Since(began) > cajun.DefaultCallTimeout+time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if _, err := p.Get(ctx, &probev1.GetRequest{}); err != nil {
			t.Errorf("the actor still waits: %v", err)
		}
	})
}

// TestSlowReaderSlowsItsStreamOnly holds one reader back while another one takes
// everything.
func TestSlowReaderSlowsItsStreamOnly(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "slow")
		var slow, fast atomic.Int64
		w.onWatch("slow", counting(10_000, &slow))
		w.onWatch("fast", counting(10_000, &fast))
		held := watch(ctx, t, p, "slow")
		held.want(1)
		free := watch(ctx, t, p, "fast")
		for i := range int64(10_000) {
			free.want(i + 1)
		}
		free.wantEnd(0)
		time.Sleep(time.Minute) // streams that are read slowly are not given up
		synctest.Wait()
		if n := slow.Load(); n > 100 {
			t.Errorf("%d events were taken for a reader that has read one", n)
		}
		for i := range int64(9_999) {
			held.want(i + 2)
		}
		held.wantEnd(0)
	})
}

// TestLargeEventsAreBoundedByTheirSize: a window of many large events would hold too
// much memory.
func TestLargeEventsAreBoundedByTheirSize(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "large")
		var yielded atomic.Int64
		w.onWatch("large", func(context.Context) iter.Seq2[*probev1.AddReply, error] {
			return func(yield func(*probev1.AddReply, error) bool) {
				for i := range int64(20) {
					yielded.Store(i + 1)
					if !yield(&probev1.AddReply{Sum: i + 1, Padding: make([]byte, 700<<10)}, nil) {
						return
					}
				}
			}
		})
		s := watch(ctx, t, p, "large")
		s.want(1)
		synctest.Wait()
		if n := yielded.Load(); n > 4 {
			t.Errorf("%d events of 700 KiB are under way", n)
		}
		for i := range int64(19) {
			s.want(i + 2)
		}
		s.wantEnd(0)
	})
}

// TestReaderThatLeavesFreesTheStream leaves in each way that there is.
func TestReaderThatLeavesFreesTheStream(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "left")
		over := make(chan error, 1)
		w.onWatch("wait", func(ctx context.Context) iter.Seq2[*probev1.AddReply, error] {
			return func(yield func(*probev1.AddReply, error) bool) {
				yield(&probev1.AddReply{Sum: 1}, nil)
				<-ctx.Done()
				over <- ctx.Err()
			}
		})
		// It breaks out of its loop,
		s := watch(ctx, t, p, "wait")
		s.want(1)
		s.stop()
		if err := receive(t, "the end of the events", over); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		// its context ends while it waits,
		cancelled, cancel := context.WithCancel(ctx)
		s = watch(cancelled, t, p, "wait")
		s.want(1)
		cancel()
		s.wantEnd(connect.CodeCanceled)
		receive(t, "the end of the events", over)
		// before it has begun,
		cancelled, cancel = context.WithCancel(ctx)
		watch(cancelled, t, p, "wait")
		cancel()
		receive(t, "the end of the events", over)
		// or its time is up, of which the actor's side knows by itself.
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		s = watch(bounded, t, p, "wait")
		s.want(1)
		s.wantEnd(connect.CodeDeadlineExceeded)
		receive(t, "the end of the events", over)
	})
}

func TestStreamOfAnActorThatMoves(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		if owner == 0 {
			t.Skip("the caller's own node is not drained")
		}
		p := w.counterOn(0, owner, "moved")
		s := watch(ctx, t, p, "")
		s.want(0)
		began := time.Now()
		if err := w.Node(owner).Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("an open stream has held up the drain for %v", took)
		}
		s.wantEnd(connect.CodeUnavailable, "moving", "open it again")
		again := watch(ctx, t, p, "")
		again.want(0)
	})
}

func TestStreamOfANodeThatFails(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		if owner == 0 {
			t.Skip("the caller's own node is not killed")
		}
		p := w.counterOn(0, owner, "killed")
		s := watch(ctx, t, p, "")
		s.want(0)
		began := time.Now()
		w.Kill(owner)
		s.wantEnd(connect.CodeUnavailable, "open")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the reader was told after %v", took)
		}
		again := watch(ctx, t, p, "")
		again.want(0)
		// One that hangs is found out by its lease.
		owner = w.Owner(p)
		if owner == 0 {
			t.Skip("the actor has moved to the caller's node")
		}
		w.Pause(owner)
		again.wantEnd(connect.CodeUnavailable, "open")
		w.Resume(owner)
	})
}

func TestStreamOfANodeThatIsClosed(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "closed")
		s := watch(ctx, t, p, "")
		s.want(0)
		began := time.Now()
		if err := w.Node(owner).Close(); err != nil {
			t.Fatal(err)
		}
		s.wantEnd(connect.CodeUnavailable, "closed")
		if took := time.Since(began); took > time.Second {
			t.Errorf("the reader was told after %v", took)
		}
	})
}

func TestStreamKeepsItsActorInMemory(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "idle") // leaves memory after two seconds
		w.forgetHooks()
		s := watch(ctx, t, p, "")
		s.want(0)
		time.Sleep(time.Minute)
		if hooks := w.hooksOf(key(p)); strings.Contains(hooks, "-") {
			t.Errorf("the actor has left memory: %s", hooks)
		}
		w.on("leave", func(_ context.Context, self *cajun.Self) error {
			self.Passivate()
			return nil
		})
		if _, err := p.Get(ctx, &probev1.GetRequest{Script: "leave"}); err != nil {
			t.Fatal(err)
		}
		s.wantEnd(connect.CodeUnavailable, "left", "open it again")
		// Without a stream it leaves by itself.
		s = watch(ctx, t, p, "")
		s.want(0)
		s.stop()
		w.forgetHooks()
		time.Sleep(time.Minute)
		if hooks := w.hooksOf(key(p)); hooks != "-" {
			t.Errorf("hooks: %q", hooks)
		}
	})
}

// TestStreamOverABadLink loses, repeats and reorders frames: every event arrives, once
// and in order.
func TestStreamOverABadLink(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := t.Context()
		p := w.counterOn(0, owner, "bad")
		var yielded atomic.Int64
		w.onWatch("many", counting(1000, &yielded))
		w.Faults(link.Faults{Seed: 7, Loss: 0.15, Duplicate: 0.2, Reorder: 0.3, Delay: 20 * time.Millisecond})
		for range 5 {
			events, err := p.Watch(ctx, &probev1.GetRequest{Script: "many"})
			for err != nil && ctx.Err() == nil { // a request that was lost is not repeated at this level
				events, err = p.Watch(ctx, &probev1.GetRequest{Script: "many"})
			}
			if err != nil {
				t.Fatal(err)
			}
			want := int64(0)
			for e, err := range events {
				if want++; err != nil || e.GetSum() != want {
					t.Fatalf("got %v, %v; want the sum %d", e, err, want)
				}
			}
			if want != 1000 {
				t.Fatalf("the stream has ended after %d events", want)
			}
		}
	})
}

func TestStreamIsReadOnce(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "twice")
		var yielded atomic.Int64
		w.onWatch("three", counting(3, &yielded))
		events, err := p.Watch(ctx, &probev1.GetRequest{Script: "three"})
		if err != nil {
			t.Fatal(err)
		}
		for range events {
		}
		for _, err := range events {
			wantRefusal(t, err, connect.CodeFailedPrecondition, "read before", "once more")
		}
	})
}

// TestEventsMayCall: what a stream's events call is called outside of any turn.
func TestEventsMayCall(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "calling")
		w.onWatch("call", func(ctx context.Context) iter.Seq2[*probev1.AddReply, error] {
			return func(yield func(*probev1.AddReply, error) bool) {
				if _, in := cajun.CallFrom(ctx); in {
					t.Error("the events run in the turn of the handler")
				}
				for range 3 { // the actor itself, which would be a circle within a turn
					if !yield(p.AddOnce(ctx, &probev1.AddRequest{Amount: 1})) {
						return
					}
				}
			}
		})
		s := watch(ctx, t, p, "call")
		s.want(1, 2, 3)
		s.wantEnd(0)
	})
}
