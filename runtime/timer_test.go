package cajun_test

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// manyTimers is how many TestManyTimers sets.
var manyTimers = flag.Int("timers", 20_000, "how many timers wait at once in TestManyTimers")

// TestManyTimers: timers wait without a goroutine each, and all of them are found
// by the nodes that take over.
func TestManyTimers(t *testing.T) {
	if testing.Short() {
		t.Skip("sets many timers")
	}
	const each = 10
	actors := *manyTimers / each
	timers := actors * each
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		if owner == 0 {
			t.Skip("all shards take part")
		}
		ctx := testContext(t)
		before := runtime.NumGoroutine()
		var setting sync.WaitGroup
		for part := range 100 {
			setting.Go(func() {
				for i := part; i < actors; i += 100 {
					w.on("set", func(ctx context.Context, self *cajun.Self) error {
						for k := range each {
							err := cajun.Schedule(ctx, probev1cajun.NewEchoPid(self, self.Key()).Note, &probev1.EchoRequest{Text: "tick"}, cajun.Timer{Name: fmt.Sprint(k), After: time.Hour})
							if err != nil {
								return err
							}
						}
						return nil
					})
					if _, err := probev1cajun.NewEchoPid(w.Node(0), fmt.Sprint("t", i)).Echo(ctx, &probev1.EchoRequest{Text: "set"}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		setting.Wait()
		during(2 * time.Minute)                               // the actors leave memory
		if now := runtime.NumGoroutine(); now > before+1000 { // two nodes keep up to 256 idle workers each
			t.Errorf("%d goroutines with %d timers pending, and %d without", now, timers, before)
		}
		w.Kill(1)
		during(70 * time.Minute)
		ticks := 0
		for _, c := range w.calls() {
			if c.Method == "Note" {
				ticks++
			}
		}
		if ticks != timers {
			t.Errorf("%d of %d timers have called", ticks, timers)
		}
	})
}

// TestTimersOfHandlers: a handler sets and removes timers with its turn, its own
// and those of others.
func TestTimersOfHandlers(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a, b := w.counterOn(0, owner, "a"), w.counterOn(0, 1, "b")
		fail := true
		w.on("set", func(ctx context.Context, self *cajun.Self) error {
			for _, k := range []string{self.Key(), key(b)} {
				if err := cajun.Schedule(ctx, counterFrom(self, k).NoteOnce, &probev1.AddRequest{Amount: 1}, cajun.Timer{Name: "t", After: time.Second, Every: time.Second}); err != nil {
					return err
				}
			}
			if fail {
				return errRehearsed
			}
			return nil
		})
		w.on("remove", func(ctx context.Context, self *cajun.Self) error {
			for _, k := range []string{self.Key(), key(b)} {
				if err := cajun.Unschedule(ctx, counterFrom(self, k), "t"); err != nil {
					return err
				}
			}
			return nil
		})
		if _, err := a.Add(ctx, &probev1.AddRequest{Script: "set"}); err == nil {
			t.Fatal("no error")
		}
		during(10 * time.Second)
		w.sumOf(t, a, 0)
		w.sumOf(t, b, 0)
		fail = false
		if _, err := a.Add(ctx, &probev1.AddRequest{Script: "set"}); err != nil {
			t.Fatal(err)
		}
		during(4500 * time.Millisecond)
		if _, err := a.Add(ctx, &probev1.AddRequest{Script: "remove"}); err != nil {
			t.Fatal(err)
		}
		during(time.Minute)
		w.sumOf(t, a, 4)
		w.sumOf(t, b, 4)
	})
}

// TestTickThatSetsItsTimerAnew: what the handler says of its own timer counts.
func TestTickThatSetsItsTimerAnew(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		ctx := testContext(t)
		a := w.counterOn(0, owner, "a")
		w.on("again", func(ctx context.Context, self *cajun.Self) error {
			r, err := int64(w.runsOf(self.Key())), error(nil)
			if r < 5 {
				err = cajun.Schedule(ctx, counterFrom(self, self.Key()).Note, &probev1.AddRequest{Amount: 1, Script: "again"}, cajun.Timer{Name: "t", After: time.Duration(r) * time.Second})
			}
			return err
		})
		w.on("stop", func(ctx context.Context, self *cajun.Self) error {
			return cajun.Unschedule(ctx, counterFrom(self, self.Key()), "u")
		})
		if err := cajun.Schedule(ctx, a.Note, &probev1.AddRequest{Amount: 1, Script: "again"}, cajun.Timer{Name: "t"}); err != nil {
			t.Fatal(err)
		}
		during(time.Minute)
		w.sumOf(t, a, 5)
		if err := cajun.Schedule(ctx, a.Note, &probev1.AddRequest{Amount: 1, Script: "stop"}, cajun.Timer{Name: "u", Every: time.Second}); err != nil {
			t.Fatal(err)
		}
		during(time.Minute)
		w.sumOf(t, a, 6)
	})
}

// TestMissedTicks: after a stop of everybody the missed ticks are made up for
// once, and the rhythm is kept.
func TestMissedTicks(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a := w.counterOn(0, owner, "a")
		if err := cajun.Schedule(testContext(t), a.NoteOnce, &probev1.AddRequest{Amount: 1}, cajun.Timer{Name: "t", After: time.Minute, Every: time.Minute}); err != nil {
			t.Fatal(err)
		}
		during(150 * time.Second)
		w.sumOf(t, a, 2)
		w.Kill(0)
		w.Kill(1)
		during(10 * time.Minute)
		w.Restart(0)
		w.Restart(1)
		during(20 * time.Second)
		a = counterFrom(w.Node(0), key(a))
		w.sumOf(t, a, 3) // at 12:50
		during(30 * time.Second)
		w.sumOf(t, a, 4) // at 13:20
	})
}
