package statetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cajun-go/cajun/state"
)

// ErrUnknown is the error of writes whose fate Unreliable hides from the
// caller: they may have been applied, or may still be.
var ErrUnknown = errors.New("statetest: injected fault: the write may or may not have been applied")

// Fate is what Unreliable does with a write.
type Fate uint8

const (
	// Deliver does the write and returns its result.
	Deliver Fate = iota
	// Lose does nothing and returns ErrUnknown.
	Lose
	// Hide does the write and returns ErrUnknown whatever the result.
	Hide
	// Late returns ErrUnknown, and does the write at some later time: see
	// Unreliable.
	Late
)

// Write is a call whose fate a Plan decides: a Commit or a Seal.
type Write struct {
	Commits []state.Commit
	Seals   []state.Seal
}

// Plan decides the fate of each write, in the order in which they come. It is
// never called by two goroutines at once.
type Plan func(Write) Fate

// Script gives the fates to the next writes, one each, and Deliver to those
// after them.
func Script(fates ...Fate) Plan {
	fates = slices.Clone(fates)
	return func(Write) Fate {
		if len(fates) == 0 {
			return Deliver
		}
		f := fates[0]
		fates = fates[1:]
		return f
	}
}

// CommitScript is Script for commits alone; seals are delivered.
func CommitScript(fates ...Fate) Plan {
	script := Script(fates...)
	return func(w Write) Fate {
		if w.Commits == nil {
			return Deliver
		}
		return script(w)
	}
}

// Random gives each write one of the three bad fates with probability rate (0
// to 1), and otherwise Deliver; the same seed gives the same fates.
func Random(seed uint64, rate float64) Plan {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(Write) Fate {
		if r.Float64() >= rate {
			return Deliver
		}
		return Lose + Fate(r.IntN(3))
	}
}

// Unreliable is a store whose writes end as they do when the network or the
// store's server fails: with an error that leaves open what happened. It wraps
// a store that works, and a Plan decides which writes fail and how.
//
// Late writes wait inside until Flush, or until a later write comes whose fate
// is Deliver or Hide: then they are done right after it, in order. That is the
// moment at which a store that forgets its fences is caught. A late write that
// never meets either is never done. Nothing runs in the background, so a test
// with one goroutine is reproducible.
//
// Its methods are safe for concurrent use.
type Unreliable struct {
	store state.Store

	mu   sync.Mutex
	plan Plan
	late []lateWrite
}

var _ state.Store = (*Unreliable)(nil)

type lateWrite struct {
	ctx context.Context
	w   Write
}

// NewUnreliable wraps store. A nil plan delivers everything.
func NewUnreliable(store state.Store, plan Plan) *Unreliable {
	u := &Unreliable{store: store}
	u.SetPlan(plan)
	return u
}

// SetPlan changes the plan for the writes from now on; nil delivers
// everything. Late writes stay late.
func (u *Unreliable) SetPlan(plan Plan) {
	if plan == nil {
		plan = Script()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.plan = plan
}

// Pending is the number of late writes that were not done yet.
func (u *Unreliable) Pending() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.late)
}

// Flush does all late writes now, in order, and returns what became of them:
// for a commit its error, and for seals their errors, joined.
func (u *Unreliable) Flush() []error {
	u.mu.Lock()
	late := u.late
	u.late = nil
	u.mu.Unlock()
	errs := make([]error, len(late))
	for i, l := range late {
		if l.w.Commits != nil {
			errs[i] = u.store.Commit(l.ctx, l.w.Commits)
		} else {
			errs[i] = errors.Join(u.store.Seal(l.ctx, l.w.Seals)...)
		}
	}
	return errs
}

// Commit implements state.Store, as the plan wants.
func (u *Unreliable) Commit(ctx context.Context, commits []state.Commit) error {
	fate := u.decide(ctx, Write{Commits: commits})
	if fate == Lose || fate == Late {
		return ErrUnknown
	}
	err := u.store.Commit(ctx, commits)
	u.Flush()
	if fate == Hide {
		return ErrUnknown
	}
	return err
}

// Seal implements state.Store, as the plan wants: all seals of one call have
// the same fate.
func (u *Unreliable) Seal(ctx context.Context, seals []state.Seal) []error {
	fate := u.decide(ctx, Write{Seals: seals})
	var errs []error
	if fate == Deliver || fate == Hide {
		errs = u.store.Seal(ctx, seals)
		u.Flush()
	}
	if fate != Deliver {
		errs = slices.Repeat([]error{ErrUnknown}, len(seals))
	}
	return errs
}

// decide asks the plan, and keeps a copy of the write if it is late.
func (u *Unreliable) decide(ctx context.Context, w Write) Fate {
	u.mu.Lock()
	defer u.mu.Unlock()
	fate := u.plan(w)
	if fate == Late {
		// A write that is on its way does not end with its caller's context.
		u.late = append(u.late, lateWrite{ctx: context.WithoutCancel(ctx), w: w.clone()})
	}
	return fate
}

func (w Write) clone() Write {
	w.Seals = slices.Clone(w.Seals)
	w.Commits = slices.Clone(w.Commits)
	for i := range w.Commits {
		c := &w.Commits[i]
		c.Record = bytes.Clone(c.Record)
		c.Put = slices.Clone(c.Put)
		for j := range c.Put {
			c.Put[j].Value = bytes.Clone(c.Put[j].Value)
		}
		c.Delete = slices.Clone(c.Delete)
		if c.Agenda != nil {
			agenda := *c.Agenda
			c.Agenda = &agenda
		}
	}
	return w
}

// Bind implements state.Store; it is always delivered.
func (u *Unreliable) Bind(ctx context.Context, clusterID string) error {
	return u.store.Bind(ctx, clusterID)
}

// Load implements state.Store; it is always delivered.
func (u *Unreliable) Load(ctx context.Context, actor state.Actor, fence state.Fence) (state.Snapshot, error) {
	return u.store.Load(ctx, actor, fence)
}

// Agenda implements state.Store; it is always delivered.
func (u *Unreliable) Agenda(ctx context.Context, shard state.Shard, after string, limit int) ([]state.Entry, error) {
	return u.store.Agenda(ctx, shard, after, limit)
}

// Limits implements state.Store.
func (u *Unreliable) Limits() state.Limits { return u.store.Limits() }

// Close implements state.Store; it closes the wrapped store.
func (u *Unreliable) Close() error { return u.store.Close() }
