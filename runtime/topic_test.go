package cajun_test

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/state/memstate"
	"github.com/cajun-go/cajun/state/statetest"
)

// TestEventsWaitForTheirCommit: what could not be stored is told to nobody, and the
// stream ends with the memory that was ahead of the store.
func TestEventsWaitForTheirCommit(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		store := statetest.NewUnreliable(memstate.New(), nil)
		w := newWorld(t, 2, cajun.WithState(store))
		ctx := testContext(t)
		p := w.counterOn(0, 1, "uncommitted")
		s := watch(ctx, t, p, "")
		s.want(0)
		// The new state gets lost each time, and what settles that does not.
		store.SetPlan(func(write statetest.Write) statetest.Fate {
			for _, c := range write.Commits {
				record, state := new(statev1.ActorRecord), new(probev1.CounterState)
				if proto.Unmarshal(c.Record, record) == nil && proto.Unmarshal(record.GetState(), state) == nil && state.GetSum() == 1 {
					time.Sleep(time.Millisecond) // who is told already has got it then
					return statetest.Lose
				}
			}
			return statetest.Deliver
		})
		if _, err := p.Add(ctx, &probev1.AddRequest{Amount: 1}); err == nil {
			t.Fatal("the commit was not lost")
		}
		s.wantEnd(connect.CodeUnavailable, "left")
	})
}

// TestEventsOfTurnsThatShareACommit publishes in several turns while their commit
// waits: readers get all events, and those of later turns only what comes after.
func TestEventsOfTurnsThatShareACommit(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "batched")
		first := watch(ctx, t, p, "")
		first.want(0)
		gate := w.hold("hold")
		held := async(func() (*probev1.AddReply, error) {
			return p.Add(ctx, &probev1.AddRequest{Amount: 1, Script: "hold"})
		})
		receive(t, "the turn", gate.entered)
		// These wait in the mailbox and run one after the other then.
		second := async(func() (*probev1.AddReply, error) { return p.Add(ctx, &probev1.AddRequest{Amount: 10}) })
		synctest.Wait()
		later := async(func() (*sums, error) { return watch(ctx, t, p, ""), nil })
		synctest.Wait()
		third := async(func() (*probev1.AddReply, error) { return p.Add(ctx, &probev1.AddRequest{Amount: 100}) })
		synctest.Wait()
		gate.release()
		for _, c := range []<-chan answer[*probev1.AddReply]{held, second, third} {
			if r := receive(t, "an answer", c); r.err != nil {
				t.Fatal(r.err)
			}
		}
		first.want(1, 11, 111)
		receive(t, "the later stream", later).value.want(11, 111)
	})
}

// TestSubscriberThatIsTooFarBehind does not read: it is told so in the end, and
// nobody else notices.
func TestSubscriberThatIsTooFarBehind(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "behind")
		behind, abreast := watch(ctx, t, p, ""), watch(ctx, t, p, "")
		abreast.want(0)
		const events = cajun.DefaultTopicBuffer + 200
		for i := range int64(events) {
			if _, err := p.Add(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				t.Fatal(err)
			}
			abreast.want(i + 1)
		}
		got := int64(0)
		for {
			e, err, ok := behind.next()
			if err != nil {
				if connect.CodeOf(err) != connect.CodeResourceExhausted || cajun.OutcomeOf(err) != guarantee.Answered {
					t.Errorf("got %v", err)
				}
				break
			}
			if !ok || e.GetSum() != got {
				t.Fatalf("got %v, %v; want %d", e, ok, got)
			}
			got++
		}
		if got < cajun.DefaultTopicBuffer || got > events {
			t.Errorf("%d events before the end", got)
		}
	})
}

// TestTopicWithoutACluster is what a test of a handler alone does.
func TestTopicWithoutACluster(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	topic := cajun.Topic[*probev1.AddReply]{Buffer: 2}
	next, stop := iter.Pull2(topic.Subscribe(ctx, &probev1.AddReply{Sum: 1}))
	defer stop()
	event := &probev1.AddReply{Sum: 2}
	if err := topic.Publish(ctx, event); err != nil {
		t.Fatal(err)
	}
	event.Sum = -1 // the publisher may go on with it
	for _, want := range []int64{1, 2} {
		if e, err, ok := next(); !ok || err != nil || e.GetSum() != want {
			t.Fatalf("got %v, %v, %v; want %d", e, err, ok, want)
		}
	}
	for range 3 {
		if err := topic.Publish(ctx, event); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err, _ := next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err, _ := next(); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Fatalf("got %v", err)
	}
	next, stop = iter.Pull2(topic.Subscribe(ctx))
	defer stop()
	cancel()
	if _, err, _ := next(); err != context.Canceled {
		t.Fatalf("got %v", err)
	}
}

// TestWhatASubscriptionBeginsWithIsNotBehind: the present state may be larger than the
// buffer, and who has not read it yet is not behind because of that.
func TestWhatASubscriptionBeginsWithIsNotBehind(t *testing.T) {
	topic := cajun.Topic[*probev1.AddReply]{Buffer: 2}
	next, stop := iter.Pull2(topic.Subscribe(t.Context(), &probev1.AddReply{Sum: 1}, &probev1.AddReply{Sum: 2}, &probev1.AddReply{Sum: 3}))
	defer stop()
	want := func(sums ...int64) {
		t.Helper()
		for _, want := range sums {
			if e, err, ok := next(); !ok || err != nil || e.GetSum() != want {
				t.Fatalf("got %v, %v, %v; want %d", e, err, ok, want)
			}
		}
	}
	publish := func(sums ...int64) {
		t.Helper()
		for _, sum := range sums {
			if err := topic.Publish(t.Context(), &probev1.AddReply{Sum: sum}); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(4)
	want(1)
	publish(5)
	want(2, 3, 4, 5)
	publish(6, 7, 8)
	want(6, 7)
	if _, err, _ := next(); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Fatalf("got %v", err)
	}
}

func TestPublishAfterTheTurn(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		p := w.counterOn(0, owner, "late")
		var turn context.Context
		w.on("keep", func(ctx context.Context, _ *cajun.Self) error {
			turn = ctx
			return nil
		})
		if _, err := p.Add(ctx, &probev1.AddRequest{Script: "keep"}); err != nil {
			t.Fatal(err)
		}
		var topic cajun.Topic[*probev1.AddReply]
		wantRefusal(t, topic.Publish(turn, &probev1.AddReply{}), connect.CodeFailedPrecondition, "the turn")
	})
}
