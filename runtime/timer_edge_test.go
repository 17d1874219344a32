package cajun_test

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/internal/bubble"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
)

// TestTimerThatSetsItselfAnew: there is no end to that, as time passes.
func TestTimerThatSetsItselfAnew(t *testing.T) {
	fakeTime(t, 2, func(t *testing.T, w *world, owner int) {
		a := w.counterOn(0, owner, "a")
		again := &probev1.AddRequest{Amount: 1, Script: "again"}
		w.on("again", func(ctx context.Context, self *cajun.Self) error {
			return cajun.Schedule(ctx, counterFrom(self, self.Key()).Note, again, cajun.Timer{Name: "t", After: time.Second})
		})
		if err := cajun.Schedule(testContext(t), a.Note, again, cajun.Timer{Name: "t"}); err != nil {
			t.Fatal(err)
		}
		const long = 3 * cajun.MaxHops
		during(long * time.Second)
		if n := w.runsOf(key(a)); n < long*9/10 {
			t.Errorf("it has called %d times in %d seconds", n, long)
		}
	})
}

// lateAgendas reads agendas and brings the answer late.
type lateAgendas struct {
	state.Store
	late atomic.Bool
}

// Agenda implements state.Store.
func (s *lateAgendas) Agenda(ctx context.Context, id state.Shard, after string, limit int) ([]state.Entry, error) {
	page, err := s.Store.Agenda(ctx, id, after, limit)
	if len(page) > 0 && s.late.Load() {
		during(3 * time.Second)
	}
	return page, err
}

// TestTimerSetDuringTakeover: what a new owner reads of the agenda does not undo
// what it was told since.
func TestTimerSetDuringTakeover(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		store := &lateAgendas{Store: memstate.New()}
		w := newWorld(t, 2, cajun.WithState(store))
		a := w.counterOn(0, 1, "a")
		set := func(after time.Duration) {
			t.Helper()
			if err := cajun.Schedule(testContext(t), a.Note, &probev1.AddRequest{Amount: 1}, cajun.Timer{Name: "t", After: after}); err != nil {
				t.Fatal(err)
			}
		}
		set(time.Hour)
		during(time.Minute)
		store.late.Store(true)
		w.Kill(1)
		if _, err := a.Get(testContext(t), &probev1.GetRequest{}); err != nil {
			t.Fatal(err)
		}
		set(5 * time.Second)
		during(time.Minute)
		if n := w.runsOf(key(a)); n != 2 { // Get and the timer's call
			t.Errorf("the actor ran %d times", n)
		}
	})
}

// TestTimersForEver: a time that no clock can hold is refused.
func TestTimersForEver(t *testing.T) {
	w := newWorld(t, 1)
	a := w.counterOn(0, 0, "a")
	for _, timer := range []cajun.Timer{{Name: "t", After: math.MaxInt64}, {Name: "t", Every: math.MaxInt64}} {
		err := cajun.Schedule(testContext(t), a.Note, &probev1.AddRequest{}, timer)
		wantRefusal(t, err, connect.CodeInvalidArgument, "set no timer for what is never due")
	}
	if err := cajun.Schedule(testContext(t), a.Note, &probev1.AddRequest{}, cajun.Timer{Name: "t", After: cajun.MaxDelay, Every: cajun.MaxDelay}); err != nil {
		t.Error(err)
	}
}
