package guarantee

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		asked    Level
		declared []Level
		want     Level
	}{
		{Unspecified, nil, AtMostOnce},
		{Unspecified, []Level{Unspecified, Unspecified, AtLeastOnce}, AtLeastOnce},
		{Unspecified, []Level{AtMostOnce, ExactlyOnce, AtLeastOnce}, AtMostOnce},
		{Unspecified, []Level{Unspecified, ExactlyOnce, AtLeastOnce}, ExactlyOnce},
		{AtLeastOnce, []Level{AtMostOnce}, AtLeastOnce},
		{AtMostOnce, []Level{ExactlyOnce}, ExactlyOnce},
		{ExactlyOnce, nil, ExactlyOnce},
	} {
		if got := Resolve(c.asked, c.declared...); got != c.want {
			t.Errorf("Resolve(%v, %v) = %v, want %v", c.asked, c.declared, got, c.want)
		}
	}
}

func TestOutcomeCoversAllAttempts(t *testing.T) {
	for _, c := range []struct{ first, second, want Outcome }{
		{NotExecuted, NotExecuted, NotExecuted},
		{NotExecuted, MaybeExecuted, MaybeExecuted},
		{MaybeExecuted, NotExecuted, MaybeExecuted},
		{NotCommitted, NotExecuted, NotCommitted},
		{NotExecuted, NotCommitted, NotCommitted},
		{MaybeExecuted, NotCommitted, MaybeExecuted},
		{MaybeExecuted, Answered, Answered},
		{NotExecuted, Answered, Answered},
	} {
		if got := c.first.After(c.second); got != c.want {
			t.Errorf("%v.After(%v) = %v, want %v", c.first, c.second, got, c.want)
		}
	}
	if got := *new(Outcome); got != MaybeExecuted {
		t.Errorf("the zero Outcome is %v, want the one that promises nothing", got)
	}
}

func TestPauseIsBoundedAndGrows(t *testing.T) {
	p := RetryPolicy{InitialBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, MaxAttempts: 3}
	for n, want := range []time.Duration{10, 20, 40, 50, 50} {
		if got := p.Pause(n+1, 1); got != want*time.Millisecond {
			t.Errorf("pause after attempt %d is at most %v, want %v", n+1, got, want*time.Millisecond)
		}
	}
	if got := p.Pause(1<<40, 0.5); got != 25*time.Millisecond {
		t.Errorf("pause after very many attempts = %v", got)
	}
	if p.Allows(4) || !p.Allows(3) || !(RetryPolicy{}).Allows(1<<30) {
		t.Error("MaxAttempts is not kept")
	}
	if got := (RetryPolicy{}).Pause(100, 1); got != DefaultMaxBackoff {
		t.Errorf("default pause = %v, want %v", got, DefaultMaxBackoff)
	}
}

// TestWindowAgainstModel drives one honest caller with overtaken and repeated
// frames and compares every verdict with a model that forgets nothing.
func TestWindowAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var w Window[int]
		answered := map[uint64]int{}
		// begun holds the calls from the lowest outstanding one upwards, the
		// settled among them too: that span is what the sender bounds.
		begun, settled := []uint64{}, map[uint64]bool{}
		next := uint64(1)
		for range 500 {
			if len(begun) < MaxOutstanding && rnd.IntN(2) == 0 {
				next += 1 + uint64(rnd.IntN(3)) // other actors take numbers too
				begun = append(begun, next)
			}
			if len(begun) == 0 {
				continue
			}
			if old := w.Watermark() / 2; old > 0 { // a frame that was overtaken
				w.Advance(old)
				if _, v := w.Look(old); v != Forgotten {
					t.Fatalf("seed %d: call %d below the watermark is %v", seed, old, v)
				}
			}
			s := begun[rnd.IntN(len(begun))]
			w.Advance(begun[0])
			got, v := w.Look(s)
			want, known := answered[s]
			if known && (v != Known || got != want) || !known && v != New {
				t.Fatalf("seed %d: call %d: verdict %v, answer %d; model: %v, %d", seed, s, v, got, known, want)
			}
			if !known {
				answered[s] = rnd.Int()
				w.Remember(s, answered[s])
			} else if rnd.IntN(2) == 0 { // the caller got its answer
				for settled[s] = true; len(begun) > 0 && settled[begun[0]]; {
					begun = begun[1:]
				}
			}
			if w.Len() > MaxOutstanding {
				t.Fatalf("seed %d: the window holds %d answers", seed, w.Len())
			}
		}
	}
}

func TestWindowRefusesMoreThanItHolds(t *testing.T) {
	var w Window[string]
	for s := uint64(1); s <= MaxOutstanding; s++ {
		if _, v := w.Look(s); v != New {
			t.Fatalf("call %d: %v", s, v)
		}
		w.Remember(s, "a")
	}
	if _, v := w.Look(MaxOutstanding + 1); v != Full {
		t.Fatalf("verdict %v, want Full", v)
	}
	w.Forget(3)
	if _, v := w.Look(MaxOutstanding + 1); v != New {
		t.Fatalf("verdict %v after one was forgotten, want New", v)
	}
}
