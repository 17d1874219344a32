package cajun_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// TestRepeatOfAnOpenTurn: who repeats a nested call whose turn is still to be
// brought to its end is told what that turn has come to, and nothing else before.
func TestRepeatOfAnOpenTurn(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b, c := w.counterOn(0, 1+owner, "a"), w.counterOn(0, 2, "b"), w.counterOn(0, 0, "c")
		w.chain("toB", step{b, &probev1.AddRequest{Amount: 1, Script: "toC"}})
		w.chain("toC", step{c, &probev1.AddRequest{Amount: 1}})
		// c is busy, and so many others wait for it that b's call finds no room.
		gate := w.hold("wait")
		hold := async(func() (*probev1.AddReply, error) { return c.AddOnce(ctx, &probev1.AddRequest{Script: "wait"}) })
		receive(t, "c is busy", gate.entered)
		var others sync.WaitGroup
		for i := range 8 {
			others.Go(func() {
				_, _ = counterFrom(w.Node(0), fmt.Sprint("d", i)).AddOnce(ctx, &probev1.AddRequest{Script: "toC"})
			})
		}
		during(time.Second)
		call := async(func() (*probev1.AddReply, error) {
			return counterFrom(w.Node(1), key(a)).AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "toB"})
		})
		during(time.Minute) // b's turn is run again and again
		gate.release()
		receive(t, "c is done", hold)
		others.Wait()
		if r := receive(t, "the call is answered", call); r.err != nil {
			t.Error(r.err)
		}
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
		w.sumOf(t, c, 9)
	})
}

// TestChainsThatMeetAgainAndAgain: two actors whose handlers call each other more
// than once come to an end, too.
func TestChainsThatMeetAgainAndAgain(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, owner, "b")
		for i, pid := range []string{key(a), key(b)} {
			w.on(fmt.Sprint("to ", pid), func(ctx context.Context, self *cajun.Self) error {
				select {
				case <-time.After(time.Duration(1+5*i) * time.Second):
				case <-ctx.Done():
					return ctx.Err()
				}
				for range 3 {
					_, _ = counterFrom(self, pid).AddOnce(ctx, &probev1.AddRequest{Amount: 1})
				}
				return nil
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var both sync.WaitGroup
		both.Go(func() { _, _ = a.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "to " + key(b)}) })
		both.Go(func() { _, _ = b.AddOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "to " + key(a)}) })
		both.Wait()
		for _, pid := range []probev1cajun.CounterPid{a, b} {
			if _, err := pid.AddOnce(testContext(t), &probev1.AddRequest{}); err != nil {
				t.Errorf("%v is stuck: %v", pid, err)
			}
		}
	})
}
