package cajun_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
)

// TestPoisonedMessages: a message that is never handled, for whatever reason,
// is a dead letter after the attempts that its method declares, and each of them
// comes after a pause.
func TestPoisonedMessages(t *testing.T) {
	const declared = 3 // of NoteSure
	for name, poison := range map[string]func(context.Context, *cajun.Self) error{
		"refused":    func(context.Context, *cajun.Self) error { return errors.New(strings.Repeat("no ", 100_000)) },
		"panic":      func(context.Context, *cajun.Self) error { panic("rehearsed") },
		"overstayed": func(ctx context.Context, _ *cajun.Self) error { <-ctx.Done(); return ctx.Err() },
	} {
		for way, send := range sentBy {
			t.Run(name+" from "+way, func(t *testing.T) {
				fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
					sender, target := w.counterOn(0, 1, "sender"), w.counterOn(0, owner, "target")
					w.on("poison", func(ctx context.Context, self *cajun.Self) error {
						if w.runsOf(key(target)) > 10*declared { // else fake time may never move on
							t.Error("the handler is run again and again")
							return nil
						}
						return poison(ctx, self)
					})
					send(t, w, sender, target, &probev1.AddRequest{Amount: 1, Script: "poison"})
					during(10 * time.Minute)
					others := 0
					if way == "itself" {
						others = 1 // the turn that sends
					}
					if n, runs := len(w.letters(t)), w.runsOf(key(target))-others; n != 1 || runs != declared {
						t.Errorf("there are %d dead letters, and the handler ran %d times", n, runs)
					}
				})
			})
		}
	}
}

// TestMessageForWhoCannotBeActivated: such an actor is tried with pauses, too.
func TestMessageForWhoCannotBeActivated(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		target := w.counterOn(0, owner, "target")
		during(time.Minute) // it leaves memory
		tries := 0
		w.hook = func(context.Context, *cajun.Self) error {
			if tries++; tries > 30 {
				t.Error("it is tried again and again")
				return nil
			}
			return errRehearsed
		}
		if err := target.NoteSure(testContext(t), &probev1.AddRequest{Amount: 1}); err != nil {
			t.Fatal(err)
		}
		during(time.Minute)
		if tries < 3 {
			t.Errorf("it was tried %d times", tries)
		}
	})
}

// TestLargestMessage: a message that is just small enough to be stored can
// become a dead letter.
func TestLargestMessage(t *testing.T) {
	for _, way := range []string{"handler", "outside"} {
		t.Run(way, func(t *testing.T) {
			fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
				ctx := testContext(t)
				sender, target := w.counterOn(0, 1, "sender"), w.counterOn(0, owner, "target")
				w.on("poison", func(context.Context, *cajun.Self) error {
					if w.runsOf(key(target)) > 30 {
						t.Error("the handler is run again and again")
						return nil
					}
					return errors.New(strings.Repeat("no ", 100_000))
				})
				r := &probev1.AddRequest{Amount: 1, Script: "poison", Padding: make([]byte, 1<<20)}
				w.on("send", func(ctx context.Context, self *cajun.Self) error {
					return counterFrom(self, key(target)).NoteSure(ctx, r)
				})
				for ; ; r.Padding = r.Padding[:len(r.Padding)-512] {
					var err error
					if way == "handler" {
						_, err = sender.Add(ctx, &probev1.AddRequest{Script: "send"})
					} else {
						err = target.NoteSure(ctx, r)
					}
					if err == nil {
						break
					}
				}
				t.Logf("%d bytes were taken", len(r.Padding))
				during(10 * time.Minute)
				if n := len(w.letters(t)); n != 1 {
					t.Errorf("there are %d dead letters", n)
				}
				w.wantAnswers(t, sender)
				w.wantAnswers(t, target)
			})
		})
	}
}

// TestDeadLettersAreBounded: the calls of a timer that fail after they have
// called others do not fill their actor without end.
func TestDeadLettersAreBounded(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		a, b := w.counterOn(0, 0, "a"), w.counterOn(0, 0, "b")
		w.on("poison", func(ctx context.Context, self *cajun.Self) error {
			if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
			return errRehearsed
		})
		if err := cajun.Schedule(testContext(t), a.Note, &probev1.AddRequest{Amount: 1, Script: "poison"}, cajun.Timer{Name: "t", Every: time.Second}); err != nil {
			t.Fatal(err)
		}
		during((cajun.MaxInbox + 100) * time.Second)
		if n := len(w.letters(t)); n != cajun.MaxInbox {
			t.Errorf("there are %d dead letters", n)
		}
		if n := w.runsOf(key(b)); n < cajun.MaxInbox+99 {
			t.Errorf("the timer has called %d times", n)
		}
		if err := a.NoteSure(testContext(t), &probev1.AddRequest{}); err == nil {
			t.Error("a message is taken by who could not keep it if it failed")
		}
	})
}
