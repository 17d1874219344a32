package cajun_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
)

// TestLogsTellNoKeys of actors, also not as part of the ID of a call that panics.
func TestLogsTellNoKeys(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		log := new(bytes.Buffer)
		w := newWorld(t, 1, cajun.WithLogger(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))))
		ctx := testContext(t)
		p := w.counterOn(0, 0, "secret")
		w.on("panic", func(context.Context, *cajun.Self) error { panic("ouch") })
		if _, err := p.Add(cajun.Idempotent(ctx, "order"), &probev1.AddRequest{Amount: 1, Script: "panic"}); err == nil {
			t.Error("no panic")
		}
		if err := p.NoteOnce(cajun.Idempotent(ctx, "note"), &probev1.AddRequest{Amount: 1, Script: "panic"}); err != nil {
			t.Fatal(err)
		}
		if err := cajun.Schedule(ctx, p.Note, &probev1.AddRequest{Amount: 1, Script: "panic"}, cajun.Timer{Name: "tick", After: time.Second}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait() // nobody writes any more
		for _, id := range []string{"order", "note", "tick"} {
			if !strings.Contains(log.String(), id) {
				t.Errorf("the log does not tell of the call %s", id)
			}
		}
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "secret") {
				t.Fatalf("the log tells an actor's key: %.600s", line)
			}
		}
	})
}
