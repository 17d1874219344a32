package cajun_test

import (
	"context"
	"strings"
	"testing"
	"time"

	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// letters lists the dead letters of the counters.
func (w *world) letters(t testing.TB) (list []cajun.DeadLetter) {
	t.Helper()
	for l, err := range w.Node(0).DeadLetters(testContext(t), probev1cajun.CounterKind) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	return list
}

// sentBy is a dead letter's way to its receiver.
var sentBy = map[string]func(t *testing.T, w *world, sender, target probev1cajun.CounterPid, r *probev1.AddRequest){
	"handler": func(t *testing.T, w *world, sender, target probev1cajun.CounterPid, r *probev1.AddRequest) {
		w.on("send", func(ctx context.Context, self *cajun.Self) error {
			return counterFrom(self, key(target)).NoteSure(ctx, r)
		})
		if _, err := sender.Add(testContext(t), &probev1.AddRequest{Script: "send"}); err != nil {
			t.Fatal(err)
		}
	},
	"outside": func(t *testing.T, w *world, sender, target probev1cajun.CounterPid, r *probev1.AddRequest) {
		if err := target.NoteSure(testContext(t), r); err != nil {
			t.Fatal(err)
		}
	},
	"itself": func(t *testing.T, w *world, sender, target probev1cajun.CounterPid, r *probev1.AddRequest) {
		w.on("send", func(ctx context.Context, self *cajun.Self) error {
			return counterFrom(self, self.Key()).NoteSure(ctx, r)
		})
		if _, err := target.Add(testContext(t), &probev1.AddRequest{Script: "send"}); err != nil {
			t.Fatal(err)
		}
	},
	"timer": func(t *testing.T, w *world, sender, target probev1cajun.CounterPid, r *probev1.AddRequest) {
		if err := cajun.Schedule(testContext(t), target.NoteSure, r, cajun.Timer{Name: "t", After: time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	},
}

// TestDeadLetters: a message that its receiver refuses three times, as its
// method declares, is kept with the reason, lets those behind it pass, survives
// the node that keeps it, and can be sent again or discarded.
func TestDeadLetters(t *testing.T) {
	for name, send := range sentBy {
		t.Run(name, func(t *testing.T) {
			fakeTime(t, 3, func(t *testing.T, w *world, owner int) {
				ctx := testContext(t)
				sender, target := w.counterOn(0, 1+owner, "sender"), w.counterOn(0, 2-owner, "target")
				refuse := true
				w.on("poison", func(context.Context, *cajun.Self) error {
					if refuse {
						return errRehearsed
					}
					return nil
				})
				send(t, w, sender, target, &probev1.AddRequest{Amount: 1, Script: "poison"})
				send(t, w, sender, target, &probev1.AddRequest{Amount: 10})
				w.sumOf(t, target, 10)
				eventually(t, "there is a dead letter", func() bool { return len(w.letters(t)) == 1 || name == "timer" })
				if name == "timer" { // the second timer has taken the place of the first
					return
				}
				l := w.letters(t)[0]
				if !strings.Contains(l.Reason, errRehearsed.Error()) || l.Attempts != 3 || l.ToKey != key(target) || l.Method != "NoteSure" || l.MaybeExecuted {
					t.Errorf("the dead letter is %+v", l)
				}
				w.Kill(1 + owner)
				w.Kill(2 - owner)
				eventually(t, "the dead letter is still there", func() bool { return len(w.letters(t)) == 1 })
				refuse = false
				if err := w.Node(0).Resend(ctx, l); err != nil {
					t.Fatal(err)
				}
				w.sumOf(t, target, 11)
				if left := w.letters(t); len(left) != 0 {
					t.Errorf("dead letters after they were sent again: %+v", left)
				}
				if err := w.Node(0).Resend(ctx, l); err != nil {
					t.Fatal(err)
				}
				during(time.Minute)
				w.sumOf(t, target, 11)
			})
		})
	}
}

// TestDiscard deletes a dead letter.
func TestDiscard(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		target := w.counterOn(0, owner, "target")
		w.on("poison", func(context.Context, *cajun.Self) error { return errRehearsed })
		if err := target.NoteSure(ctx, &probev1.AddRequest{Script: "poison"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "there is a dead letter", func() bool { return len(w.letters(t)) == 1 })
		if err := w.Node(1).Discard(ctx, w.letters(t)[0]); err != nil {
			t.Fatal(err)
		}
		if left := w.letters(t); len(left) != 0 {
			t.Errorf("dead letters after they were discarded: %+v", left)
		}
	})
}

// TestTimerWithATickThatFails: the tick becomes a dead letter, and the timer goes
// on.
func TestTimerWithATickThatFails(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		target := w.counterOn(0, owner, "target")
		refuse := true
		w.on("poison", func(context.Context, *cajun.Self) error {
			if refuse {
				return errRehearsed
			}
			return nil
		})
		if err := cajun.Schedule(testContext(t), target.NoteSure, &probev1.AddRequest{Amount: 1, Script: "poison"}, cajun.Timer{Name: "t", Every: time.Minute}); err != nil {
			t.Fatal(err)
		}
		during(30 * time.Second)
		refuse = false
		if n := len(w.letters(t)); n != 1 {
			t.Fatalf("%d dead letters of a tick that failed, want 1", n)
		}
		during(time.Minute)
		w.sumOf(t, target, 1)
	})
}

// TestMessagesInACircle end as a dead letter.
func TestMessagesInACircle(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 0, "b")
		w.on("circle", func(ctx context.Context, self *cajun.Self) error {
			to := key(a)
			if self.Key() == to {
				to = key(b)
			}
			return counterFrom(self, to).NoteOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "circle"})
		})
		if _, err := a.Add(ctx, &probev1.AddRequest{Script: "circle"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the circle has an end", func() bool { return len(w.letters(t)) == 1 })
		if l := w.letters(t)[0]; !strings.Contains(l.Reason, "circle") {
			t.Errorf("the dead letter is %+v", l)
		}
		w.sumOf(t, a, 50)
		w.sumOf(t, b, 50)
	})
}
