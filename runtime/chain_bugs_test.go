package cajun_test

import (
	"context"
	"testing"
	"time"

	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
)

// TestShardsAreRemembered: what an actor remembers of the calls of a shard
// outlives changes of the membership, which end sessions and no shards.
func TestShardsAreRemembered(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b, c := w.counterOn(0, 1, "a"), w.counterOn(0, 2*owner, "b"), w.counterOn(0, 0, "c")
		gate := w.hold("wait")
		w.chain("chain", step{b, &probev1.AddRequest{Amount: 1}}, step{c, &probev1.AddRequest{Amount: 1, Script: "wait"}})
		call := async(func() (*probev1.AddReply, error) { return a.Add(ctx, &probev1.AddRequest{Amount: 1, Script: "chain"}) })
		receive(t, "c is at it", gate.entered)
		w.Add()
		// b's next commit is when it forgets who has left.
		if _, err := b.Add(ctx, &probev1.AddRequest{Amount: 10}); err != nil {
			t.Fatal(err)
		}
		w.Kill(1)
		receive(t, "the caller knows that its call is lost", call)
		gate.release()
		w.sumOf(t, a, 1)
		w.sumOf(t, c, 1)
		w.sumOf(t, b, 11)
	})
}

// TestTicksSendByThemselves: what a timer's call has sent leaves although nobody
// calls its actor, and what it has changed is stored.
func TestTicksSendByThemselves(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		source, target := w.counterOn(0, 2, "source"), w.counterOn(0, owner, "target")
		w.on("send", func(ctx context.Context, self *cajun.Self) error {
			return counterFrom(self, key(target)).NoteOnce(ctx, &probev1.AddRequest{Amount: 1})
		})
		if err := cajun.Schedule(ctx, source.Note, &probev1.AddRequest{Amount: 1, Script: "send"}, cajun.Timer{Name: "tick", After: 500 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		during(600 * time.Millisecond)
		r, err := target.Get(ctx, &probev1.GetRequest{})
		if err != nil || r.GetSum() != 1 {
			t.Errorf("100 ms after the tick: %v, %v", r, err)
		}
	})
}
