package cajun_test

import (
	"context"
	"testing"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
)

// sending makes the script "send" send so many messages to an actor.
func (w *world) sending(target string, n int) {
	w.on("send", func(ctx context.Context, self *cajun.Self) error {
		for range n {
			if err := counterFrom(self, target).NoteOnce(ctx, &probev1.AddRequest{Amount: 1}); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestLostSettlement: that a message was delivered is stored in the end, also
// when its sender has nothing else to do and the first commit fails.
func TestLostSettlement(t *testing.T) {
	losing(t, func(t *testing.T, w *world, lose func(string)) {
		ctx := testContext(t)
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, 0, "b")
		other := counterFrom(w.Node(0), sameShard(key(a), 1)[0])
		w.sending(key(b), 1)
		lose("o/")
		if _, err := a.Add(ctx, &probev1.AddRequest{Script: "send"}); err != nil {
			t.Fatal(err)
		}
		during(10 * time.Minute)
		w.sending(key(b), 64)
		if _, err := other.Add(testContext(t), &probev1.AddRequest{Script: "send"}); err != nil {
			t.Fatal(err)
		}
		w.sumOf(t, b, 65)
	})
}

// TestLostResend: a dead letter whose way back into the outbox is not stored at
// first does not keep a place for ever.
func TestLostResend(t *testing.T) {
	losing(t, func(t *testing.T, w *world, lose func(string)) {
		a, b := w.counterOn(0, 1, "a"), w.counterOn(0, 0, "b")
		refuse := true
		w.on("poison", func(context.Context, *cajun.Self) error {
			if refuse {
				return errRehearsed
			}
			return nil
		})
		sentBy["handler"](t, w, a, b, &probev1.AddRequest{Amount: 1, Script: "poison"})
		eventually(t, "the message is given up", func() bool { return len(w.letters(t)) == 1 })
		letter := w.letters(t)[0]
		refuse = false
		lose("d/")
		_ = w.Node(0).Resend(testContext(t), letter) // it may say that it does not know
		w.sumOf(t, b, 1)
		w.sending(key(b), 64)
		for range 2 {
			if _, err := a.Add(testContext(t), &probev1.AddRequest{Script: "send"}); err != nil {
				t.Fatal(err)
			}
		}
		w.sumOf(t, b, 129)
	})
}

// TestHandledBeforeItWasRefused: a message that was handled, without its sender
// being told, is not given up by the sender's next owner because its receiver
// cannot be activated.
func TestHandledBeforeItWasRefused(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		tap := newTap()
		w := newWorld(t, 3, cajun.WithTransport(tap))
		sender, target := w.counterOn(0, 2, "sender"), w.counterOn(0, 1, "target")
		one := w.Node(1).ID()
		handled := make(chan struct{}, 1)
		w.on("note", func(context.Context, *cajun.Self) error { handled <- struct{}{}; return nil })
		tap.watch(func(from string, f link.Frame) bool { return from != one || f.Response == nil })
		w.on("send", func(ctx context.Context, self *cajun.Self) error {
			return counterFrom(self, key(target)).NoteOnce(ctx, &probev1.AddRequest{Amount: 1, Script: "note"})
		})
		if _, err := sender.Add(testContext(t), &probev1.AddRequest{Script: "send"}); err != nil {
			t.Fatal(err)
		}
		receive(t, "the message is handled", handled)
		during(15 * time.Second)
		w.hook = func(_ context.Context, self *cajun.Self) error {
			if self.Key() == key(target) {
				return errRehearsed
			}
			return nil
		}
		w.Kill(1)
		w.Kill(2)
		tap.watch(nil)
		during(5 * time.Minute)
		if letters := w.letters(t); len(letters) > 0 {
			t.Errorf("the dead letters are %+v", letters)
		}
		w.hook = nil
		w.sumOf(t, target, 1)
	})
}
