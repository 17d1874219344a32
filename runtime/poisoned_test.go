package cajun_test

import (
	"context"
	"errors"
	"fmt"
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
				r := &probev1.AddRequest{Amount: 1, Script: "poison", Padding: make([]byte, 120<<10)}
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

// TestMessagesThatCallOthersAndFail: whom the handler has called is called once,
// at every level, and the message becomes a dead letter.
func TestMessagesThatCallOthersAndFail(t *testing.T) {
	for _, end := range []string{"error", "panic"} {
		for way, send := range sentBy {
			t.Run(end+" from "+way, func(t *testing.T) {
				fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
					sender, target, b := w.counterOn(0, 1, "sender"), w.counterOn(0, owner, "target"), w.counterOn(0, 0, "b")
					w.on("calls and fails", func(ctx context.Context, self *cajun.Self) error {
						if _, err := counterFrom(self, key(b)).AddOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
							return err
						}
						if end == "panic" {
							panic("rehearsed")
						}
						return errRehearsed
					})
					send(t, w, sender, target, &probev1.AddRequest{Amount: 1, Script: "calls and fails"})
					during(5 * time.Minute)
					w.sumOf(t, b, 1)
					if n := len(w.letters(t)); n != 1 {
						t.Errorf("there are %d dead letters", n)
					}
				})
			})
		}
	}
}

// TestReceiversThatHang hold up nobody else, however many there are.
func TestReceiversThatHang(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		ctx := testContext(t)
		w.hold("wait")
		w.on("send", func(ctx context.Context, self *cajun.Self) error {
			return counterFrom(self, "t"+self.Key()).NoteOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "wait"})
		})
		for i := range 1000 {
			if _, err := counterFrom(w.Node(0), fmt.Sprint(i)).Add(ctx, &probev1.AddRequest{Script: "send"}); err != nil {
				t.Fatal(err)
			}
		}
		during(time.Minute)
		w.sending("well", 1)
		began := time.Now()
		if _, err := counterFrom(w.Node(0), "sender").Add(testContext(t), &probev1.AddRequest{Script: "send"}); err != nil {
			t.Fatal(err)
		}
		w.sumOf(t, counterFrom(w.Node(0), "well"), 1)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a message to an actor that is well took %v", took)
		}
	})
}
