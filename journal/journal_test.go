package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/memstate"
	"github.com/cajun-go/cajun/state/statetest"
)

var (
	shard = state.Shard{Kind: "test.v1.Kind", Number: 7}
	mine  = state.Fence{Epoch: 3, Session: "me"}
	yours = state.Fence{Epoch: 4, Session: "you"}
)

// book is a journal over a store that fails on demand.
type book struct {
	*journal.Journal
	store *statetest.Unreliable
	truth state.Store // what store stands before
	crowd *crowd
	t     *testing.T
}

func newBook(t *testing.T) *book {
	truth := memstate.New()
	store := statetest.NewUnreliable(truth, nil)
	crowd := new(crowd)
	b := &book{journal.New(store, crowd, slog.New(slog.DiscardHandler)), store, truth, crowd, t}
	t.Cleanup(func() { b.Close(); store.Close() })
	b.seal(mine)
	return b
}

func (b *book) seal(f state.Fence) {
	b.t.Helper()
	if err := errors.Join(b.store.Seal(context.Background(), []state.Seal{{Shard: shard, Fence: f}})...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *book) load(key string, f state.Fence) *journal.Actor {
	b.t.Helper()
	a, err := b.Load(context.Background(), state.Actor{Shard: shard, Key: key}, f)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// turn is a turn that answers call n of a session.
func turn(n uint64, content string) journal.Turn {
	return journal.Turn{State: []byte(content), Call: guarantee.CallID{Session: "s", Sequence: n}, Method: "M",
		Reply: &statev1.Reply{Sequence: n, Payload: []byte("reply to " + content)}}
}

// TestSettle gives every fate to a write and to the writes that settle it, and
// then compares what Commit said with what the store has, also after late
// writes have arrived.
func TestSettle(t *testing.T) {
	t.Parallel()
	bad := []statetest.Fate{statetest.Lose, statetest.Hide, statetest.Late}
	var scripts [][]statetest.Fate
	for _, first := range bad {
		scripts = append(scripts, []statetest.Fate{first})
		for _, second := range bad {
			scripts = append(scripts, []statetest.Fate{first, second}, []statetest.Fate{first, statetest.Deliver, second})
			for _, third := range bad {
				scripts = append(scripts, []statetest.Fate{first, second, third}, []statetest.Fate{first, second, statetest.Deliver, third})
			}
		}
	}
	for _, script := range scripts {
		t.Run(fmt.Sprint(script), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := newBook(t)
				a := b.load("a", mine)
				for n := uint64(1); n <= 4; n++ {
					b.store.SetPlan(statetest.CommitScript(script...))
					if err := a.Commit(t.Context(), turn(n, fmt.Sprint("state ", n))); err != nil {
						t.Fatalf("turn %d: %v", n, err)
					}
					b.store.SetPlan(nil)
					b.store.Flush()
					fresh := b.load("a", mine)
					if got, want := string(fresh.State()), fmt.Sprint("state ", n); got != want || string(a.State()) != want {
						t.Fatalf("the store has %q and memory %q, want %q", got, a.State(), want)
					}
					for _, known := range []*journal.Actor{a, fresh} {
						r, verdict := known.Look(guarantee.CallID{Session: "s", Sequence: n}, "M", 1)
						if verdict != guarantee.Known || string(r.GetPayload()) != fmt.Sprint("reply to state ", n) {
							t.Fatalf("call %d: %v, %q", n, verdict, r.GetPayload())
						}
						if _, verdict := known.Look(guarantee.CallID{Session: "s", Sequence: n + 1}, "M", 1); verdict != guarantee.New {
							t.Fatalf("the next call is %v", verdict)
						}
					}
				}
			})
		})
	}
}

// TestRandomFates commits through a storm of faults: what Commit reported as
// stored is stored, and what it reported as not stored never appears.
func TestRandomFates(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		bubble.Test(t, func(t *testing.T) {
			b := newBook(t)
			a := b.load("a", mine)
			b.store.SetPlan(statetest.Random(seed, 0.5))
			want := ""
			for n := uint64(1); n <= 40; n++ {
				content := fmt.Sprint(want, n, ",")
				err := a.Commit(t.Context(), turn(n, content))
				e := new(journal.Error)
				switch {
				case err == nil:
					want = content
				case !errors.As(err, &e) || e.Outcome != guarantee.NotCommitted || e.Fenced:
					t.Fatalf("seed %d, turn %d: %v", seed, n, err)
				default:
					a = b.load("a", mine) // its memory is dropped
				}
				if string(b.load("a", mine).State()) != want {
					t.Fatalf("seed %d, turn %d (%v): the store has %q, want %q", seed, n, err, b.load("a", mine).State(), want)
				}
			}
			b.store.SetPlan(nil)
			b.store.Flush()
			if got := string(b.load("a", mine).State()); got != want {
				t.Errorf("seed %d: in the end %q, want %q", seed, got, want)
			}
		})
	}
}

// TestFenced takes the shard away before a commit, between a commit and its
// settling, and while it is settled.
func TestFenced(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fates []statetest.Fate
		want  guarantee.Outcome
	}{
		"before":                {nil, guarantee.NotCommitted},
		"applied unnoticed":     {[]statetest.Fate{statetest.Hide}, guarantee.MaybeExecuted},
		"lost":                  {[]statetest.Fate{statetest.Lose}, guarantee.MaybeExecuted},
		"late":                  {[]statetest.Fate{statetest.Late}, guarantee.MaybeExecuted},
		"settling without luck": {[]statetest.Fate{statetest.Late, statetest.Lose}, guarantee.MaybeExecuted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				b := newBook(t)
				a := b.load("a", mine)
				writes := 0
				script := statetest.CommitScript(c.fates...)
				b.store.SetPlan(func(w statetest.Write) statetest.Fate {
					if w.Commits == nil {
						return statetest.Deliver
					}
					if writes == len(c.fates) { // the shard is lost just before this write
						if err := errors.Join(b.truth.Seal(t.Context(), []state.Seal{{Shard: shard, Fence: yours}})...); err != nil {
							t.Error(err)
						}
					}
					writes++
					return script(w)
				})
				err := a.Commit(t.Context(), turn(1, "new"))
				e := new(journal.Error)
				if !errors.As(err, &e) || !e.Fenced || e.Outcome != c.want {
					t.Fatalf("%v, want %v and fenced", err, c.want)
				}
				if c.want == guarantee.NotCommitted {
					if got := b.load("a", yours).State(); len(got) != 0 {
						t.Errorf("the store has %q", got)
					}
				}
				before := string(b.load("a", yours).State())
				b.store.Flush()
				if got := string(b.load("a", yours).State()); got != before {
					t.Errorf("a write of the past took effect: %q", got)
				}
			})
		})
	}
}

// TestSettlingEnds with the activation's life, and says that nothing is known.
func TestSettlingEnds(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		b := newBook(t)
		a := b.load("a", mine)
		b.store.SetPlan(func(statetest.Write) statetest.Fate { return statetest.Lose })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := a.Commit(ctx, turn(1, "new"))
		e := new(journal.Error)
		if !errors.As(err, &e) || e.Outcome != guarantee.MaybeExecuted || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// groups is a store that notes the groups it gets, and holds them until told.
type groups struct {
	state.Store
	gate chan struct{}

	mu   sync.Mutex
	seen [][]string
	// poison makes the store refuse groups that hold this actor.
	poison string
	err    error
}

func (g *groups) Commit(ctx context.Context, cs []state.Commit) error {
	if g.gate != nil {
		select {
		case <-g.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var keys []string
	for _, c := range cs {
		keys = append(keys, c.Actor.Key)
	}
	g.mu.Lock()
	g.seen = append(g.seen, keys)
	g.mu.Unlock()
	if g.err != nil && slices.Contains(keys, g.poison) {
		return g.err
	}
	return g.Store.Commit(ctx, cs)
}

// TestGroups lets many commits wait while the first ones are on their way:
// they share few transactions, and one that is refused takes no other along.
func TestGroups(t *testing.T) {
	t.Parallel()
	poisoned := state.Actor{Shard: shard, Key: "a13"}
	for name, err := range map[string]error{
		"all is well": nil,
		"conflict":    &state.ConflictError{Actor: poisoned},
		"too large":   fmt.Errorf("%w: for a test", state.ErrTooLarge),
		"invalid":     fmt.Errorf("%w: for a test", state.ErrInvalid),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				store := &groups{Store: memstate.New(), gate: make(chan struct{}), poison: poisoned.Key, err: err}
				if err := errors.Join(store.Seal(t.Context(), []state.Seal{{Shard: shard, Fence: mine}})...); err != nil {
					t.Fatal(err)
				}
				j := journal.New(store, new(crowd), slog.New(slog.DiscardHandler))
				defer j.Close()
				const n = 40
				results := make([]error, n)
				var wg sync.WaitGroup
				for i := range n {
					a, err := j.Load(t.Context(), state.Actor{Shard: shard, Key: fmt.Sprint("a", i)}, mine)
					if err != nil {
						t.Fatal(err)
					}
					wg.Go(func() { results[i] = a.Commit(t.Context(), turn(1, "x")) })
				}
				synctest.Wait()
				close(store.gate)
				wg.Wait()
				for i, got := range results {
					e := new(journal.Error)
					switch refused := err != nil && i == 13; {
					case !refused && got != nil:
						t.Errorf("commit %d suffers: %v", i, got)
					case refused && (!errors.As(got, &e) || e.Outcome != guarantee.NotCommitted):
						t.Errorf("the refused commit: %v", got)
					}
				}
				if len(store.seen) > 20 {
					t.Errorf("%d transactions for %d commits: %v", len(store.seen), n, store.seen)
				}
			})
		})
	}
}

// TestOtherShardsOfAGroup takes one of two shards away: the commits of the
// other one go through.
func TestOtherShardsOfAGroup(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		store := &groups{Store: memstate.New(), gate: make(chan struct{})}
		other := state.Shard{Kind: shard.Kind, Number: 8}
		for _, s := range []state.Seal{{Shard: shard, Fence: mine}, {Shard: other, Fence: mine}} {
			if err := errors.Join(store.Seal(t.Context(), []state.Seal{s})...); err != nil {
				t.Fatal(err)
			}
		}
		j := journal.New(store, new(crowd), slog.New(slog.DiscardHandler))
		defer j.Close()
		const n = 20
		results := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			s := []state.Shard{shard, other}[i%2]
			a, err := j.Load(t.Context(), state.Actor{Shard: s, Key: fmt.Sprint("a", i)}, mine)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { results[i] = a.Commit(t.Context(), turn(1, "x")) })
		}
		synctest.Wait()
		if err := errors.Join(store.Store.Seal(t.Context(), []state.Seal{{Shard: other, Fence: yours}})...); err != nil {
			t.Fatal(err)
		}
		close(store.gate)
		wg.Wait()
		for i, err := range results {
			e := new(journal.Error)
			if lost := errors.As(err, &e) && e.Fenced && e.Outcome == guarantee.NotCommitted; lost != (i%2 == 1) {
				t.Errorf("commit %d: %v", i, err)
			}
		}
	})
}

func TestLookAndWatermark(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	a := b.load("a", mine)
	for n := uint64(1); n <= 10; n++ {
		if err := a.Commit(t.Context(), turn(n, "x")); err != nil {
			t.Fatal(err)
		}
	}
	look := func(a *journal.Actor, n, watermark uint64) guarantee.Verdict {
		_, v := a.Look(guarantee.CallID{Session: "s", Sequence: n}, "M", watermark)
		return v
	}
	if v := look(a, 3, 1); v != guarantee.Known {
		t.Errorf("call 3 is %v", v)
	}
	if look(a, 3, 5) != guarantee.Forgotten || look(a, 5, 5) != guarantee.Known || look(a, 3, 1) != guarantee.Forgotten {
		t.Error("a watermark of 5 does not forget what lies below, and only that")
	}
	if err := a.Commit(t.Context(), turn(11, "x")); err != nil {
		t.Fatal(err)
	}
	fresh := b.load("a", mine)
	if look(fresh, 4, 0) != guarantee.Forgotten || look(fresh, 5, 0) != guarantee.Known || look(fresh, 11, 0) != guarantee.Known || look(fresh, 12, 0) != guarantee.New {
		t.Error("the watermark did not survive")
	}
	if _, v := fresh.Look(guarantee.CallID{Session: "another", Sequence: 5}, "M", 0); v != guarantee.New {
		t.Errorf("another session's call is %v", v)
	}
}

// TestKeys remembers calls under keys for a day, and no longer, in memory and
// in the store.
// TestKeysAreBounded: an actor that remembers as many calls as it may takes no new
// ones under keys until some are forgotten, also when it has been loaded anew.
func TestKeysAreBounded(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		b := newBook(t)
		a := b.load("a", mine)
		byKey := func(key string, reply []byte) journal.Turn {
			return journal.Turn{State: []byte("x"), Call: guarantee.CallID{Key: key}, Method: "M", Reply: &statev1.Reply{Payload: reply}}
		}
		commit := func(turns ...journal.Turn) {
			t.Helper()
			for _, turn := range turns {
				for !a.Add(turn) {
					if err := a.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := a.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		look := func(a *journal.Actor, key string) guarantee.Verdict {
			_, v := a.Look(guarantee.CallID{Key: key}, "M", 0)
			return v
		}
		for i := range journal.MaxKeys - 1 {
			commit(byKey(fmt.Sprint("k", i), nil))
		}
		if v := look(a, "one"); v != guarantee.New {
			t.Fatalf("before the limit: %v", v)
		}
		commit(byKey("last", nil))
		for _, a := range []*journal.Actor{a, b.load("a", mine)} {
			if v := look(a, "one more"); v != guarantee.Full {
				t.Errorf("at the limit: %v", v)
			}
			if v := look(a, "k0"); v != guarantee.Known {
				t.Errorf("a repeat at the limit: %v", v)
			}
		}
		time.Sleep(journal.KeyRetention + time.Minute)
		if v := look(a, "one more"); v != guarantee.New {
			t.Errorf("a day later: %v", v)
		}
		for i := range journal.MaxKeyBytes >> 19 {
			commit(byKey(fmt.Sprint("big", i), make([]byte, 512<<10)))
		}
		if v := look(a, "one more"); v != guarantee.Full {
			t.Errorf("with large replies: %v", v)
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		b := newBook(t)
		a := b.load("a", mine)
		byKey := func(key string) journal.Turn {
			return journal.Turn{State: []byte("x"), Call: guarantee.CallID{Key: key}, Method: "M", Reply: &statev1.Reply{Payload: []byte(key)}}
		}
		commit := func(a *journal.Actor, key string) {
			t.Helper()
			if err := a.Commit(t.Context(), byKey(key)); err != nil {
				t.Fatal(err)
			}
		}
		rows := func() int {
			s, err := b.store.Load(t.Context(), state.Actor{Shard: shard, Key: "a"}, mine)
			if err != nil {
				t.Fatal(err)
			}
			return len(s.Rows)
		}
		look := func(a *journal.Actor, key, method string) guarantee.Verdict {
			_, v := a.Look(guarantee.CallID{Key: key}, method, 0)
			return v
		}
		for i := range 40 {
			commit(a, fmt.Sprint("k", i))
		}
		time.Sleep(journal.KeyRetention - time.Minute)
		fresh := b.load("a", mine)
		for _, known := range []*journal.Actor{a, fresh} {
			if look(known, "k1", "M") != guarantee.Known || look(known, "k1", "N") != guarantee.New || look(known, "k99", "M") != guarantee.New {
				t.Error("what is known within the retention is wrong")
			}
		}
		time.Sleep(2 * time.Minute)
		fresh = b.load("a", mine)
		for _, known := range []*journal.Actor{a, fresh} {
			if look(known, "k1", "M") != guarantee.New {
				t.Error("a key is known after its retention")
			}
		}
		// The same key anew, while its expired row is still there.
		commit(fresh, "k1")
		if look(fresh, "k1", "M") != guarantee.Known || look(b.load("a", mine), "k1", "M") != guarantee.Known {
			t.Error("a key that was used again is not known")
		}
		for range 5 {
			commit(fresh, "k1")
		}
		if n := rows(); n != 1 {
			t.Errorf("%d rows are left, want one", n)
		}
		if look(b.load("a", mine), "k1", "M") != guarantee.Known {
			t.Error("a key in use was taken away with the expired ones")
		}
		// An actor that never leaves memory gets rid of them, too.
		time.Sleep(journal.KeyRetention + time.Minute)
		for i := range 60 {
			commit(fresh, fmt.Sprint("n", i))
			if i == 40 {
				time.Sleep(journal.KeyRetention + time.Minute)
			}
		}
		if n := rows(); n != 19 {
			t.Errorf("%d rows, want those of the last day, 19", n)
		}
	})
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	a := b.load("a", mine)
	err := a.Commit(t.Context(), turn(1, strings.Repeat("x", journal.MaxTurn)))
	e := new(journal.Error)
	if !errors.As(err, &e) || e.Outcome != guarantee.NotCommitted || !errors.Is(err, state.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if got := b.load("a", mine).State(); len(got) != 0 {
		t.Error("it was stored all the same")
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	a := b.load("a", mine)
	b.Close()
	err := a.Commit(t.Context(), turn(1, "x"))
	e := new(journal.Error)
	if !errors.As(err, &e) || e.Outcome != guarantee.NotCommitted || !errors.Is(err, journal.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestRequestHash(t *testing.T) {
	t.Parallel()
	hash := func(method, key string) []byte {
		h, err := journal.RequestHash(method, &statev1.KeyRow{Reply: &statev1.Reply{Payload: []byte(key)}})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if !bytes.Equal(hash("M", "a"), hash("M", "a")) || bytes.Equal(hash("M", "a"), hash("M", "b")) || bytes.Equal(hash("M", "a"), hash("N", "a")) {
		t.Error("the hash does not tell calls apart")
	}
}
