//go:build unix

package failpoint

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/state"
)

// The protections that can be taken away from a node, to see that the campaign
// notices.
const (
	noReplies    = "replies"    // of a session's calls are not stored
	noKeys       = "keys"       // calls under a key of the caller's own are not remembered
	noOutbox     = "outbox"     // messages to other actors are not stored
	noInbox      = "inbox"      // messages from outside are acknowledged and not stored
	noIntents    = "intents"    // turns that call others are not stored
	noAdvance    = "advance"    // a timer is not moved on in the commit of its call
	noAgenda     = "agenda"     // new owners are told of nothing to see to
	noFence      = "fence"      // commits are let through whoever owns the shard
	noWaiting    = "waiting"    // answers do not wait for their commits
	noWatermark  = "watermark"  // every call acknowledges all that its caller has called before
	noRecognised = "recognised" // frames that arrive twice are not recognised
)

// without takes a protection away from a state store.
func without(protection string, store state.Store) state.Store {
	prefix := map[string]string{noReplies: "c/", noKeys: "k/", noOutbox: "o/", noInbox: "i/", noIntents: "n/"}[protection]
	switch {
	case prefix != "":
		return &rowless{store, prefix}
	case protection == noAdvance:
		return &stuckTimers{Store: store, set: make(map[timerName]bool)}
	case protection == noAgenda:
		return forgetful{store}
	case protection == noFence:
		return fenceless{store}
	case protection == noWaiting:
		return &hasty{Store: store}
	}
	return store
}

// rowless does not store rows of one sort.
type rowless struct {
	state.Store
	prefix string
}

// Commit implements state.Store.
func (s *rowless) Commit(ctx context.Context, commits []state.Commit) error {
	kept := slices.Clone(commits)
	for i := range kept {
		kept[i].Put = slices.DeleteFunc(slices.Clone(kept[i].Put), func(r state.Row) bool { return strings.HasPrefix(r.Name, s.prefix) })
	}
	return s.Store.Commit(ctx, kept)
}

// stuckTimers stores a timer when it is set, and not what becomes of it.
type stuckTimers struct {
	state.Store
	mu  sync.Mutex
	set map[timerName]bool
}

type timerName struct {
	actor state.Actor
	row   string
}

// Load implements state.Store.
func (s *stuckTimers) Load(ctx context.Context, actor state.Actor, fence state.Fence) (state.Snapshot, error) {
	snapshot, err := s.Store.Load(ctx, actor, fence)
	for _, r := range snapshot.Rows {
		s.isFirst(timerName{actor, r.Name})
	}
	return snapshot, err
}

// Commit implements state.Store.
func (s *stuckTimers) Commit(ctx context.Context, commits []state.Commit) error {
	kept := slices.Clone(commits)
	for i := range kept {
		c := &kept[i]
		c.Put = slices.DeleteFunc(slices.Clone(c.Put), func(r state.Row) bool {
			return strings.HasPrefix(r.Name, "t/") && !s.isFirst(timerName{c.Actor, r.Name})
		})
		c.Delete = slices.DeleteFunc(slices.Clone(c.Delete), func(name string) bool { return strings.HasPrefix(name, "t/") })
	}
	return s.Store.Commit(ctx, kept)
}

func (s *stuckTimers) isFirst(n timerName) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.set[n]
	s.set[n] = true
	return first
}

// forgetful tells new owners nothing.
type forgetful struct{ state.Store }

// Agenda implements state.Store.
func (forgetful) Agenda(context.Context, state.Shard, string, int) ([]state.Entry, error) {
	return nil, nil
}

// fenceless commits whoever owns the shard, and whatever the version of the
// actor has become. What it is given counts as on its way: a node that finds
// that it has lost its lease does not send any more.
type fenceless struct{ state.Store }

// Commit implements state.Store.
func (s fenceless) Commit(ctx context.Context, commits []state.Commit) error {
	ctx, commits = context.WithoutCancel(ctx), slices.Clone(commits)
	for {
		err := s.Store.Commit(ctx, commits)
		var fenced *state.FencedError
		var conflict *state.ConflictError
		switch {
		case errors.As(err, &fenced):
			for i := range commits {
				if commits[i].Actor.Shard == fenced.Shard {
					commits[i].Fence = fenced.Current
				}
			}
		case errors.As(err, &conflict):
			for i := range commits {
				if c := &commits[i]; c.Actor == conflict.Actor {
					now, err := s.Store.Load(ctx, c.Actor, c.Fence)
					if err != nil {
						return err
					}
					c.Version = now.Version
				}
			}
		default:
			return err
		}
	}
}

// hasty says that commits are stored before they are.
type hasty struct {
	state.Store
	mu      sync.Mutex
	pending sync.WaitGroup
	last    chan struct{}
}

// Commit implements state.Store.
func (s *hasty) Commit(_ context.Context, commits []state.Commit) error {
	kept := slices.Clone(commits)
	s.mu.Lock()
	before, done := s.last, make(chan struct{})
	s.last = done
	s.mu.Unlock()
	s.pending.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		_ = s.Store.Commit(context.Background(), kept)
	})
	return nil
}

// Load implements state.Store: the node itself sees what it has written.
func (s *hasty) Load(ctx context.Context, actor state.Actor, fence state.Fence) (state.Snapshot, error) {
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	if last != nil {
		<-last
	}
	return s.Store.Load(ctx, actor, fence)
}

// Close implements state.Store.
func (s *hasty) Close() error {
	s.pending.Wait()
	return s.Store.Close()
}

// withoutOnLink takes a protection away from a node's link.
func withoutOnLink(protection string, t link.Transport) link.Transport {
	switch protection {
	case noWatermark, noRecognised:
		return weakened{t, protection}
	}
	return t
}

type weakened struct {
	link.Transport
	protection string
}

// Open implements link.Transport.
func (t weakened) Open(ctx context.Context, cfg link.Config) (link.Endpoint, error) {
	var err error
	if t.protection == noWatermark {
		cfg.Receiver = impatient{cfg.Receiver}
		return t.Transport.Open(ctx, cfg)
	}
	r := &renumbering{Receiver: cfg.Receiver, last: make(map[string]uint64), first: make(map[frameID]uint64)}
	cfg.Receiver = r
	if r.Endpoint, err = t.Transport.Open(ctx, cfg); err != nil {
		return nil, err
	}
	return r, nil
}

// impatient takes every call for an acknowledgement of all that its caller has
// called before.
type impatient struct{ link.Receiver }

// Receive implements link.Receiver.
func (i impatient) Receive(from string, f link.Frame) {
	if r := f.Request; r != nil && r.Watermark != 0 {
		c := *r
		c.Watermark = r.Call.Sequence
		f.Request = &c
	}
	i.Receiver.Receive(from, f)
}

// renumbering numbers requests anew as they arrive, so that none looks like
// another one.
type renumbering struct {
	link.Receiver
	link.Endpoint
	mu    sync.Mutex
	last  map[string]uint64
	first map[frameID]uint64
}

// Receive implements link.Receiver.
func (n *renumbering) Receive(from string, f link.Frame) {
	if f.Request != nil {
		c := *f.Request
		n.mu.Lock()
		n.last[from]++
		c.ID = n.last[from]
		n.first[frameID{from, c.ID}] = f.Request.ID
		n.mu.Unlock()
		f.Request = &c
	}
	n.Receiver.Receive(from, f)
}

// Send implements link.Endpoint.
func (n *renumbering) Send(ctx context.Context, to link.Peer, f link.Frame) error {
	if f.Response != nil {
		c := *f.Response
		n.mu.Lock()
		c.ID = n.first[frameID{to.Session, c.ID}]
		n.mu.Unlock()
		f.Response = &c
	}
	return n.Endpoint.Send(ctx, to, f)
}
