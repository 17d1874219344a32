package cajun

import (
	"context"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/state"
)

// The phases of a shard on its owner.
const (
	shardServing int32 = iota
	// shardDraining admits only calls of chains that already run.
	shardDraining
	// shardGone admits nothing and answers nothing.
	shardGone
)

// shard is one ownership of one shard: the activations of its actors, under
// one epoch. The next ownership of the same shard is another value.
type shard struct {
	node  *Node
	host  *hostedKind
	id    state.Shard
	epoch uint64
	phase atomic.Int32
	// busy counts the activations that are running; quiet gets a token when it
	// falls to zero while the shard drains.
	busy  atomic.Int64
	quiet chan struct{}
	// turn is the place of this ownership among all of the node.
	turn uint64

	// ctx is the life of the ownership.
	ctx    context.Context
	cancel context.CancelCauseFunc

	post   *post
	agenda agenda

	mu     sync.Mutex
	actors map[string]*activation
}

func newShard(n *Node, h *hostedKind, id state.Shard, epoch uint64) *shard {
	s := &shard{node: n, host: h, id: id, epoch: epoch, turn: n.lookout.taken.Add(1), quiet: make(chan struct{}, 1), actors: make(map[string]*activation)}
	s.ctx, s.cancel = context.WithCancelCause(n.ctx)
	s.post = newPost(s)
	s.agenda.shard = s
	return s
}

func (s *shard) fence() state.Fence { return state.Fence{Epoch: s.epoch, Session: s.node.ID()} }

// deliver puts a call into the mailbox of its actor. A failure means that the
// call did not run and will not.
func (s *shard) deliver(key string, c *call) *failure {
	if c.level == guarantee.ExactlyOnce {
		var err error
		if c.hash, err = journal.RequestHash(c.hashName(), c.req); err != nil {
			return refuse(connect.CodeInvalidArgument, "the request of %s cannot be encoded: %v", c.method.spec.path(), err)
		}
	}
	for {
		a, fail := s.activation(key, c.nested)
		if fail != nil {
			return fail
		}
		// An activation that just left memory sends us back for a new one.
		if gone, fail := a.enqueue(c); !gone {
			return fail
		}
	}
}

// activation returns the actor's activation, made if need be. nested calls are
// admitted as long as the shard is not gone: turns that run here or elsewhere
// wait for them.
func (s *shard) activation(key string, nested bool) (*activation, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch phase := s.phase.Load(); {
	case phase == shardGone, phase == shardDraining && !nested:
		return nil, s.notOwner()
	}
	a, ok := s.actors[key]
	if !ok {
		a = newActivation(s, key)
		s.actors[a.self.key] = a
	}
	return a, nil
}

// remove takes an activation out of the shard's table.
func (s *shard) remove(a *activation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.actors[a.self.key] == a {
		delete(s.actors, a.self.key)
	}
}

// all returns the present activations.
func (s *shard) all() []*activation {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*activation, 0, len(s.actors))
	for _, a := range s.actors {
		list = append(list, a)
	}
	return list
}

// enter and leave frame the time in which an activation runs.
func (s *shard) enter() { s.busy.Add(1) }

func (s *shard) leave() {
	if s.busy.Add(-1) == 0 && s.phase.Load() != shardServing {
		select {
		case s.quiet <- struct{}{}:
		default:
		}
	}
}

// await returns when no activation runs, or when ctx ends.
func (s *shard) await(ctx context.Context) bool {
	for s.busy.Load() > 0 {
		select {
		case <-s.quiet:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// drain hands the shard over: it stops admitting, sends queued calls away,
// lets running turns finish and passivates every actor. When ctx ends first,
// the contexts of what still runs are cancelled; handlers that ignore that are
// left behind, and the fence keeps their commits out.
func (s *shard) drain(ctx context.Context) {
	s.mu.Lock()
	if s.phase.Load() == shardServing {
		s.phase.Store(shardDraining)
	}
	s.mu.Unlock()
	for _, a := range s.all() {
		a.sendAway(s.notOwner())
		a.endFeeds(errMoved)
	}
	if s.await(ctx) {
		for _, a := range s.all() {
			a.requestPassivation()
		}
		s.await(ctx)
	}
	s.drop(errMoved)
}

// drop ends the ownership at once. Queued calls are sent away, the contexts of
// running turns end with cause, and no turn's result leaves any more.
func (s *shard) drop(cause error) {
	s.mu.Lock()
	s.phase.Store(shardGone)
	s.mu.Unlock()
	s.cancel(cause)
	s.agenda.stop()
	all := s.all()
	for _, a := range all {
		a.interrupt(cause)
	}
	for _, a := range all {
		a.sendAway(s.notOwner())
	}
}

// notOwner is the answer to a call that this node must not run. It says what
// the node knows, for the caller to try there.
func (s *shard) notOwner() *failure { return s.node.notOwner(s.id.Kind, s.id.Number) }

func (n *Node) notOwner(kind string, number uint32) *failure {
	f := unavailable("the actor's shard %d of %s is not served here", number, kind)
	f.redirect = &link.Redirect{}
	if rec, ok := n.table.Lookup(kind, number); ok {
		f.redirect = &link.Redirect{Owner: rec.Owner, Epoch: rec.Epoch, Target: rec.Target}
	}
	return f
}
