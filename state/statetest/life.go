package statetest

import (
	"context"
	"errors"
	"time"

	"github.com/cajun-go/cajun/state"
)

func testBind(e *env) {
	if err := e.store.Bind(e.ctx, ""); !errors.Is(err, state.ErrInvalid) {
		e.Errorf("Bind to nothing: got %v, want ErrInvalid", err)
	}
	for range 2 {
		if err := e.store.Bind(e.ctx, "one"); err != nil {
			e.Fatalf("Bind: %v", err)
		}
	}
	for _, other := range []string{"two", "on", "one1"} {
		var wrong *state.ClusterError
		if err := e.store.Bind(e.ctx, other); !errors.As(err, &wrong) || *wrong != (state.ClusterError{Bound: "one", Asked: other}) {
			e.Fatalf("Bind to %q: got %v, want a *ClusterError", other, err)
		}
	}
	if err := e.store.Bind(e.ctx, "one"); err != nil {
		e.Fatalf("Bind after a refused one: %v", err)
	}
}

func testClose(e *env) {
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(1, "a"))
	for range 2 {
		if err := e.store.Close(); err != nil {
			e.Fatalf("Close: %v", err)
		}
	}
	for name, err := range map[string]error{
		"Bind":   e.store.Bind(e.ctx, "one"),
		"Seal":   e.seal(a.Shard, fence(2, "a")),
		"Commit": e.commit(state.Commit{Actor: a, Fence: f}),
		"Load":   second(e.store.Load(e.ctx, a, f)),
		"Agenda": second(e.store.Agenda(e.ctx, a.Shard, "", 1)),
	} {
		if !errors.Is(err, state.ErrClosed) {
			e.Errorf("%s after Close: got %v, want ErrClosed", name, err)
		}
	}
	if l := e.store.Limits(); l.Commits < 1 {
		e.Errorf("Limits after Close: %+v", l)
	}
}

// testContextEnds calls everything with contexts that have ended. The errors
// must show why, and must not be ones that promise that nothing was written.
func testContextEnds(e *env) {
	a := actor(1, "k")
	f := e.mustSeal(a.Shard, fence(1, "a"))
	live := e.ctx
	cancelled, cancel := context.WithCancel(live)
	cancel()
	expired, cancel := context.WithDeadline(live, time.Unix(0, 0))
	defer cancel()
	for ctx, want := range map[context.Context]error{cancelled: context.Canceled, expired: context.DeadlineExceeded} {
		e.ctx = ctx
		seals := e.store.Seal(ctx, []state.Seal{{Shard: shard(2), Fence: f}, {Shard: shard(3), Fence: f}})
		for name, err := range map[string]error{
			"Bind":     e.store.Bind(ctx, "one"),
			"Seal (1)": seals[0],
			"Seal (2)": seals[1],
			"Commit":   e.commit(state.Commit{Actor: a, Fence: f}),
			"Load":     second(e.store.Load(ctx, a, f)),
			"Agenda":   second(e.store.Agenda(ctx, a.Shard, "", 1)),
		} {
			if !errors.Is(err, want) || definite(err) {
				e.Errorf("%s: got %v, want one that wraps %v", name, err, want)
			}
		}
	}
	e.ctx = live
	// The store works on.
	e.mustCommit(state.Commit{Actor: a, Fence: f, Version: e.mustLoad(a, f).Version})
}

// definite reports whether err promises that nothing was written.
func definite(err error) bool {
	var fenced *state.FencedError
	var conflict *state.ConflictError
	return errors.As(err, &fenced) || errors.As(err, &conflict) ||
		errors.Is(err, state.ErrTooLarge) || errors.Is(err, state.ErrInvalid) || errors.Is(err, state.ErrClosed)
}

func second[T any](_ T, err error) error { return err }
