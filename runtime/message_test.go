package cajun_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// sumOf asks a counter until it has the wanted sum: what was sent one way takes
// a while.
func (w *world) sumOf(t testing.TB, pid probev1cajun.CounterPid, sum int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("the sum of %v is %d", pid, sum), func() bool {
		r, err := pid.Get(testContext(t), &probev1.GetRequest{})
		return err == nil && r.GetSum() == sum
	})
}

func counterFrom(c cajun.Caller, key string) probev1cajun.CounterPid {
	return probev1cajun.NewCounterPid(c, key)
}

// TestMessagesOfHandlers: what a handler sends above AT_MOST_ONCE arrives in
// order, once, whatever sender and receiver are.
func TestMessagesOfHandlers(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		target := w.counterOn(0, 2, "target")
		for i, sender := range []string{"counter", "echo"} {
			w.on("send", func(ctx context.Context, self *cajun.Self) error {
				for k := range 5 {
					pid := counterFrom(self, key(target))
					if err := pid.NoteOnce(ctx, &probev1.AddRequest{Amount: 1, Labels: map[string]int64{fmt.Sprint(i, k): 1}}); err != nil {
						return err
					}
					if err := pid.NoteSure(ctx, &probev1.AddRequest{Amount: 1, Labels: map[string]int64{fmt.Sprint(i, k): 1}}); err != nil {
						return err
					}
				}
				return nil
			})
			var err error
			if sender == "counter" {
				_, err = w.counterOn(0, owner, "sender").Add(ctx, &probev1.AddRequest{Script: "send"})
			} else {
				_, err = w.echoOn(0, owner, "sender").Echo(ctx, &probev1.EchoRequest{Text: "send"})
			}
			if err != nil {
				t.Fatal(err)
			}
			w.sumOf(t, target, int64(10*(i+1)))
		}
		var order []string
		for _, c := range w.calls() {
			if c.Key == key(target) && strings.HasPrefix(c.Method, "Note") {
				order = append(order, c.Method)
			}
		}
		want := slices.Repeat([]string{"NoteOnce", "NoteSure"}, 10)
		if !slices.Equal(order, want) {
			t.Errorf("the messages arrived as %v", order)
		}
	})
}

// TestMessagesOfFailedTurns: what a handler sends goes with its turn.
func TestMessagesOfFailedTurns(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		target, sender := w.counterOn(0, 0, "target"), w.counterOn(0, owner, "sender")
		fail := true
		w.on("send", func(ctx context.Context, self *cajun.Self) error {
			if err := counterFrom(self, key(target)).NoteOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			if fail {
				return errRehearsed
			}
			return nil
		})
		for range 3 {
			_, err := sender.Add(ctx, &probev1.AddRequest{Script: "send"})
			wantOutcome(t, err, guarantee.Answered)
		}
		fail = false
		if _, err := sender.Add(ctx, &probev1.AddRequest{Script: "send"}); err != nil {
			t.Fatal(err)
		}
		w.sumOf(t, target, 1)
		during(5 * time.Second)
		w.sumOf(t, target, 1)
	})
}

// TestMessagesFromOutside: nil means that the call is stored, and will run even
// if its owner dies before it has.
func TestMessagesFromOutside(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		pid := w.counterOn(0, 1+owner, "target")
		gate := w.hold("wait")
		for k := range 5 {
			r := &probev1.AddRequest{Amount: 1}
			if k == 4 {
				r.Script = "wait"
			}
			if err := pid.NoteOnce(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		receive(t, "the last message is being handled", gate.entered)
		w.Kill(1 + owner)
		gate.release()
		w.sumOf(t, pid, 5)
	})
}

// TestMessagesOutliveTheirSender: the sender's node dies with its messages
// undelivered; the next owner of the sender finds them, unasked.
func TestMessagesOutliveTheirSender(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		target, sender := w.counterOn(0, owner, "target"), w.counterOn(0, 2, "sender")
		gate := w.hold("wait")
		w.on("send", func(ctx context.Context, self *cajun.Self) error {
			for range 5 {
				if err := counterFrom(self, key(target)).NoteOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "wait"}); err != nil {
					return err
				}
			}
			return nil
		})
		if _, err := sender.Add(ctx, &probev1.AddRequest{Script: "send"}); err != nil {
			t.Fatal(err)
		}
		receive(t, "the first message is being handled", gate.entered)
		w.Kill(2)
		gate.release()
		w.sumOf(t, target, 5)
		during(30 * time.Second)
		w.sumOf(t, target, 5)
	})
}

// TestTimers: a timer calls its actor again and again, through crashes, and once
// for each due time.
func TestTimers(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		pid := w.counterOn(0, 1+owner, "target")
		if err := cajun.Schedule(ctx, pid.Note, &probev1.AddRequest{Amount: 1}, cajun.Timer{Name: "tick", After: time.Second, Every: 10 * time.Second}); err != nil {
			t.Fatal(err)
		}
		if err := cajun.Schedule(ctx, pid.NoteOnce, &probev1.AddRequest{Amount: 100}, cajun.Timer{Name: "once", After: 15 * time.Second}); err != nil {
			t.Fatal(err)
		}
		during(500 * time.Millisecond)
		w.sumOf(t, pid, 0)
		during(time.Second)
		w.sumOf(t, pid, 1)
		during(10 * time.Second)
		w.sumOf(t, pid, 2)
		w.Kill(1 + owner)
		during(20 * time.Second)
		w.sumOf(t, pid, 104)
		if err := cajun.Unschedule(ctx, pid, "tick"); err != nil {
			t.Fatal(err)
		}
		during(time.Minute)
		w.sumOf(t, pid, 104)
		ids := map[string]bool{}
		for _, c := range w.calls() {
			if c.Key == key(pid) && strings.HasPrefix(c.Method, "Note") {
				if ids[c.ID] {
					t.Errorf("two calls have the ID %s", c.ID)
				}
				ids[c.ID] = true
			}
		}
	})
}

// TestNestedOnce: a handler's EXACTLY_ONCE calls happen once, whichever of the
// nodes dies in the middle, also when nobody repeats the outer call.
func TestNestedOnce(t *testing.T) {
	fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b, c := w.counterOn(0, 1, "a"), w.counterOn(0, 1+owner, "b"), w.counterOn(0, 0, "c")
		gate := w.hold("wait")
		w.chain("chain", step{b, &probev1.AddRequest{Amount: 1}}, step{c, &probev1.AddRequest{Amount: 1, Script: "wait"}})
		call := async(func() (*probev1.AddReply, error) { return a.Add(ctx, &probev1.AddRequest{Amount: 1, Script: "chain"}) })
		receive(t, "c is at it", gate.entered)
		w.Kill(1)
		if got := receive(t, "the caller knows that its call is lost", call); got.err == nil {
			t.Errorf("a call to a node that died was answered")
		}
		gate.release()
		w.sumOf(t, a, 1)
		w.sumOf(t, b, 1)
		w.sumOf(t, c, 1)
		during(30 * time.Second)
		for _, pid := range []probev1cajun.CounterPid{a, b, c} {
			w.sumOf(t, pid, 1)
		}
	})
}

// TestMessageOfATurnThatItsCallerRuns: an actor without state that is quick runs on
// its caller's goroutine; what it sends once is stored before the caller has its
// answer all the same.
func TestMessageOfATurnThatItsCallerRuns(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		pid, target := w.echoOn(0, 0, "a"), w.counterOn(0, 0, "target")
		w.on("send", func(ctx context.Context, self *cajun.Self) error {
			return counterFrom(self, key(target)).NoteOnce(ctx, &probev1.AddRequest{Amount: 1})
		})
		echo := func(text string) string {
			t.Helper()
			r, err := pid.Echo(context.Background(), &probev1.EchoRequest{Text: text})
			if err != nil {
				t.Fatal(err)
			}
			return r.GetText()
		}
		for range 200 {
			echo("quick")
		}
		if got := echo("send"); got != "send" {
			t.Errorf("the reply is %q", got)
		}
		w.sumOf(t, target, 1)
	})
}
