package guarantee

import (
	"math/rand/v2"
	"slices"
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
				if _, v := w.Look(old, 0); v != Forgotten {
					t.Fatalf("seed %d: call %d below the watermark is %v", seed, old, v)
				}
			}
			s := begun[rnd.IntN(len(begun))]
			w.Advance(begun[0])
			got, v := w.Look(s, 0)
			want, known := answered[s]
			if known && (v != Known || got != want) || !known && v != New {
				t.Fatalf("seed %d: call %d: verdict %v, answer %d; model: %v, %d", seed, s, v, got, known, want)
			}
			if !known {
				answered[s] = rnd.Int()
				w.Remember(s, 0, answered[s])
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
		if _, v := w.Look(s, 0); v != New {
			t.Fatalf("call %d: %v", s, v)
		}
		w.Remember(s, 0, "a")
	}
	if _, v := w.Look(MaxOutstanding+1, 0); v != Full {
		t.Fatalf("verdict %v, want Full", v)
	}
	w.Advance(2)
	if _, v := w.Look(MaxOutstanding+1, 0); v != New {
		t.Fatalf("verdict %v after one was acknowledged, want New", v)
	}
}

// TestWindowKeepsPartsApart: the calls that share a sequence take one place
// among the outstanding, and are bounded themselves.
func TestWindowKeepsPartsApart(t *testing.T) {
	var w Window[uint64]
	for s := uint64(1); s <= MaxTurns; s++ {
		for part := uint64(1); part <= MaxParts; part++ {
			if _, v := w.Look(s, part); v != New {
				t.Fatalf("call %d.%d: %v, want New", s, part, v)
			}
			w.Remember(s, part, s*1000+part)
		}
		if _, v := w.Look(s, MaxParts+1); v != Full {
			t.Fatalf("call %d.%d: %v, want Full", s, MaxParts+1, v)
		}
	}
	if _, v := w.Look(MaxTurns+1, 1); v != Full {
		t.Errorf("one sequence too many: %v, want Full", v)
	}
	if answer, v := w.Look(7, 9); v != Known || answer != 7009 {
		t.Errorf("call 7.9: %v %d", v, answer)
	}
	w.Advance(3)
	if _, v := w.Look(2, 9); v != Forgotten {
		t.Errorf("call 2.9 below the watermark: %v, want Forgotten", v)
	}
	if _, v := w.Look(MaxTurns+1, 1); v != New {
		t.Errorf("a new call after two were acknowledged: %v, want New", v)
	}
}

// TestWindowOfTurns drives a caller whose turns end in any order, with frames
// that are overtaken and repeated: the calls of an open turn are known for as
// long as it is, what has ended is never taken for new, and is forgotten.
func TestWindowOfTurns(t *testing.T) {
	type frame struct {
		sequence, watermark uint64
		open                []uint64
	}
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var w Window[uint64]
		var open []uint64
		var sent []frame
		answered := map[uint64]bool{}
		last := uint64(0)
		limit := 1 + rnd.IntN(200)
		for range 1000 {
			if rnd.IntN(2) == 0 && len(open) < limit {
				last += 1 + uint64(rnd.IntN(3))
				open = append(open, last)
			}
			var f frame
			if repeat := len(sent) > 0 && rnd.IntN(4) == 0; repeat {
				f = sent[rnd.IntN(len(sent))]
			} else if len(open) > 0 {
				f = frame{open[rnd.IntN(len(open))], last + 1, slices.Clone(open)}
				if len(open) > MaxOpen {
					f.watermark, f.open = open[MaxOpen], f.open[:MaxOpen]
				}
				sent = append(sent, f)
			} else {
				continue
			}
			w.Advance(f.watermark, f.open...)
			_, v := w.Look(f.sequence, 1)
			isOpen := slices.Contains(open, f.sequence)
			switch {
			case isOpen && answered[f.sequence] != (v == Known), isOpen && v != Known && v != New:
				t.Fatalf("seed %d: call %d of an open turn is %v; answered: %t", seed, f.sequence, v, answered[f.sequence])
			case !isOpen && answered[f.sequence] && v == New:
				t.Fatalf("seed %d: call %d of a turn that has ended is new again", seed, f.sequence)
			}
			if v == New {
				w.Remember(f.sequence, 1, f.sequence)
				answered[f.sequence] = true
			}
			if len(open) > 0 && rnd.IntN(2) == 0 { // mostly a young one: some stay open for long
				i := len(open) - 1 - min(rnd.IntN(len(open)), rnd.IntN(len(open)))
				open = slices.Delete(open, i, i+1)
			}
		}
		w.Advance(last+1, open...)
		if w.Len() > len(open) || !slices.Equal(w.Open(), open) {
			t.Fatalf("seed %d: %d answers are remembered of %d open turns", seed, w.Len(), len(open))
		}
	}
}

// TestShardCaller: the numbers of a later owner are above those of an earlier
// one, whatever that one has given out.
func TestShardCaller(t *testing.T) {
	if c := ShardCaller("bank.v1.Account", 7); !IsShardCaller(c) || c == ShardCaller("bank.v1.Account", 8) {
		t.Errorf("the caller of a shard is %q", c)
	}
	if first, next := FirstSequence(3), FirstSequence(4); next-first < 1<<39 {
		t.Errorf("an owner has %d numbers only", next-first)
	}
}
