package cajun_test

import (
	"context"
	"errors"
	"fmt"
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

// TestDeadlines calls handlers that ignore their contexts.
func TestDeadlines(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		g := w.hold("hold")
		req := &probev1.EchoRequest{Text: "hold"}
		for _, c := range []struct {
			name string
			call func(probev1cajun.EchoPid) error
			want time.Duration
		}{
			{"caller", func(pid probev1cajun.EchoPid) error {
				ctx, cancel := context.WithTimeout(t.Context(), 70*time.Millisecond)
				defer cancel()
				_, err := pid.Echo(ctx, req)
				return err
			}, 70 * time.Millisecond},
			{"caller with a cause", func(pid probev1cajun.EchoPid) error {
				ctx, cancel := context.WithTimeoutCause(t.Context(), 60*time.Millisecond, errors.New("of mine"))
				defer cancel()
				_, err := pid.Echo(ctx, req)
				return err
			}, 60 * time.Millisecond},
			{"method", func(pid probev1cajun.EchoPid) error { _, err := pid.EchoQuick(t.Context(), req); return err }, 50 * time.Millisecond},
			{"node", func(pid probev1cajun.EchoPid) error { _, err := pid.Echo(t.Context(), req); return err }, time.Minute},
			{"node, at least once", func(pid probev1cajun.EchoPid) error { _, err := pid.EchoOnce(t.Context(), req); return err }, time.Minute},
		} {
			pid := w.echoOn(0, owner, c.name)
			began := time.Now()
			err := c.call(pid)
			wantOutcome(t, err, guarantee.MaybeExecuted, "deadline")
			if took := time.Since(began); took > c.want || connect.CodeOf(err) != connect.CodeDeadlineExceeded {
				t.Errorf("%s: after %v, want %v: %v", c.name, took, c.want, err)
			}
		}
		g.release()
	}, cajun.WithCallTimeout(time.Minute))
}

// TestTimeoutDoesNotLeak lets a call time out and then makes slower ones.
func TestTimeoutDoesNotLeak(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		w.on("slow", func(ctx context.Context, _ *cajun.Self) error {
			if d, ok := ctx.Deadline(); !ok || time.Until(d) < 10*time.Second {
				return errors.New("the deadline of an earlier call")
			}
			time.Sleep(200 * time.Millisecond)
			return ctx.Err()
		})
		stuck := w.hold("stuck")
		quick, slow := w.echoOn(0, owner, "quick"), w.echoOn(0, owner, "slow")
		for i := range 3 {
			quick = w.echoOn(0, owner, fmt.Sprint("quick", i))
			_, err := quick.EchoQuick(t.Context(), &probev1.EchoRequest{Text: "stuck"})
			wantOutcome(t, err, guarantee.MaybeExecuted)
			if _, err := slow.Echo(t.Context(), &probev1.EchoRequest{Text: "slow"}); err != nil {
				t.Fatal(err)
			}
		}
		stuck.release()
		synctest.Wait()
		if _, err := quick.EchoQuick(t.Context(), &probev1.EchoRequest{}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestHandlersSeeTheEnd checks that a handler learns that its caller has left,
// and why.
func TestHandlersSeeTheEnd(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		entered, saw := make(chan struct{}, 10), make(chan error, 10)
		w.on("wait", func(ctx context.Context, _ *cajun.Self) error {
			entered <- struct{}{}
			derived, cancel := context.WithCancel(ctx)
			defer cancel()
			<-derived.Done()
			saw <- derived.Err()
			return ctx.Err()
		})
		pid := w.echoOn(0, owner, "a")
		for _, withCause := range []bool{false, true} {
			ctx, cancel := context.WithCancelCause(t.Context())
			done := async(func() (*probev1.EchoReply, error) { return pid.Echo(ctx, &probev1.EchoRequest{Text: "wait"}) })
			<-entered
			if withCause {
				cancel(errors.New("enough"))
			} else {
				cancel(nil)
			}
			err := receive(t, "the call", done).err
			wantOutcome(t, err, guarantee.MaybeExecuted, "cancelled")
			if connect.CodeOf(err) != connect.CodeCanceled {
				t.Errorf("code of: %v", err)
			}
			if err := receive(t, "the handler's end", saw); !errors.Is(err, context.Canceled) {
				t.Errorf("the handler saw %v", err)
			}
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := pid.Echo(ctx, &probev1.EchoRequest{Text: "wait"})
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Error(err)
		}
		if err := receive(t, "the handler's end", saw); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the handler saw %v", err)
		}
	})
}

// TestCancelAfterResend gives a call up that was sent again meanwhile.
func TestCancelAfterResend(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		entered, left := make(chan struct{}, 10), make(chan struct{}, 10)
		w.on("wait", func(ctx context.Context, _ *cajun.Self) error {
			entered <- struct{}{}
			<-ctx.Done()
			left <- struct{}{}
			return ctx.Err()
		})
		pid := w.echoOn(0, owner, "a")
		ctx, cancel := context.WithCancel(t.Context())
		done := async(func() (*probev1.EchoReply, error) { return pid.EchoOnce(ctx, &probev1.EchoRequest{Text: "wait"}) })
		<-entered
		time.Sleep(10 * time.Second) // several repeats
		cancel()
		wantOutcome(t, (<-done).err, guarantee.MaybeExecuted)
		synctest.Wait()
		if len(left) != 1 {
			t.Error("the handler does not know that its caller has left")
		}
		if n := w.runsOf(key(pid)); n != 1 {
			t.Errorf("the handler ran %d times", n)
		}
	})
}

// TestWithdrawnCalls gives calls up that wait in the mailbox.
func TestWithdrawnCalls(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		g := w.hold("hold")
		pid := w.echoOn(0, owner, "a")
		first := async(func() (*probev1.EchoReply, error) { return pid.Echo(t.Context(), &probev1.EchoRequest{Text: "hold"}) })
		<-g.entered
		ctx, cancel := context.WithCancel(t.Context())
		second := async(func() (*probev1.EchoReply, error) { return pid.Echo(ctx, &probev1.EchoRequest{}) })
		third := async(func() (*probev1.EchoReply, error) { return pid.EchoQuick(t.Context(), &probev1.EchoRequest{}) })
		synctest.Wait()
		cancel()
		err, late := (<-second).err, (<-third).err
		if owner == 0 {
			wantOutcome(t, err, guarantee.NotExecuted, "cancelled")
			wantOutcome(t, late, guarantee.NotExecuted, "deadline")
		} else { // the caller cannot know how far the call got
			wantOutcome(t, err, guarantee.MaybeExecuted, "cancelled")
			wantOutcome(t, late, guarantee.MaybeExecuted, "deadline")
		}
		synctest.Wait()
		g.release()
		if r := <-first; r.err != nil {
			t.Error(r.err)
		}
		synctest.Wait()
		if n := w.runsOf(key(pid)); n != 1 {
			t.Errorf("%d runs, want only the first call's", n)
		}
	})
}

// TestExpiredCallsAreNotSent makes a call whose time is over before it could
// be sent.
func TestExpiredCallsAreNotSent(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		wire := newTap()
		w := newWorld(t, 2, cajun.WithTransport(wire))
		pid := w.echoOn(0, 1, "a")
		wire.watch(func(_ string, f link.Frame) bool {
			if f.Request != nil {
				t.Errorf("sent with %v to live", f.Request.Timeout)
			}
			return true
		})
		ctx, cancel := context.WithTimeout(t.Context(), -1)
		defer cancel()
		_, err := pid.Echo(ctx, &probev1.EchoRequest{})
		wantRefusal(t, err, connect.CodeDeadlineExceeded)
		wire.watch(nil)
	})
}

// TestStalledChains lets two chains wait for each other: a deadline ends it.
func TestStalledChains(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		alice, bob := w.echoOn(0, 0, "alice"), w.echoOn(0, owner, "bob")
		var both = make(chan struct{}, 2)
		meet := func(other interface {
			Echo(context.Context, *probev1.EchoRequest) (*probev1.EchoReply, error)
		}) func(context.Context, *cajun.Self) error {
			return func(ctx context.Context, _ *cajun.Self) error {
				both <- struct{}{}
				time.Sleep(time.Millisecond) // now both turns run
				_, err := other.Echo(ctx, &probev1.EchoRequest{})
				return err
			}
		}
		w.on("to bob", meet(bob))
		w.on("to alice", meet(alice))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		first := async(func() (*probev1.EchoReply, error) { return alice.Echo(ctx, &probev1.EchoRequest{Text: "to bob"}) })
		_, err := bob.Echo(ctx, &probev1.EchoRequest{Text: "to alice"})
		// Both end in the same instant, and the second may still find the first
		// one's actor free.
		for _, err := range []error{err, (<-first).err} {
			if err != nil && connect.CodeOf(err) != connect.CodeDeadlineExceeded {
				t.Error(err)
			}
		}
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("they did not wait for each other: %v", took)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("stalled for %v", took)
		}
		synctest.Wait()
		if _, err := alice.Echo(t.Context(), &probev1.EchoRequest{}); err != nil {
			t.Errorf("after the stall: %v", err)
		}
	})
}
