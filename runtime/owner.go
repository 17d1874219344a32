package cajun

import (
	"context"
	"sync/atomic"

	"github.com/cajun-go/cajun/placement"
	"github.com/cajun-go/cajun/state"
)

// owner is the node's side towards placement: what owning a shard means for
// the actors in memory.
type owner struct{ n *Node }

var _ placement.Host = owner{}

// Serve implements placement.Host.
func (o owner) Serve(id state.Shard, epoch uint64) {
	h, ok := o.n.hosted[id.Kind]
	if !ok {
		return
	}
	s := newShard(o.n, h, id, epoch)
	h.shards.put(id.Number, s)
	if o.n.journal != nil {
		o.n.tasks.Go(s.post.recover)
	}
}

// Drain implements placement.Host.
func (o owner) Drain(ctx context.Context, id state.Shard, epoch uint64) {
	if s := o.n.served(id); s != nil && s.epoch == epoch {
		s.drain(ctx)
		s.host.shards.remove(id.Number, s)
	}
}

// Drop implements placement.Host.
func (o owner) Drop(id state.Shard, epoch uint64) {
	if s := o.n.served(id); s != nil && s.epoch == epoch {
		s.drop(errMoved)
		s.host.shards.remove(id.Number, s)
	}
}

// lookout knows for which shards the node's view of the members is recent
// enough to tell ended sessions from living ones.
type lookout struct {
	taken   atomic.Uint64 // ownerships so far
	covered atomic.Uint64 // those that are older than the latest look
	looking chan struct{} // holds a token while somebody looks
}

// viewMembers sees to it that the node's view of the members was read after the
// shard's fence was raised. Shards share a look: it covers all that were taken
// before it.
func (n *Node) viewMembers(s *shard) error {
	l := &n.lookout
	if s.turn <= l.covered.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, loadTimeout)
	defer cancel()
	select {
	case l.looking <- struct{}{}:
		defer func() { <-l.looking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.turn <= l.covered.Load() {
		return nil
	}
	taken := l.taken.Load()
	if err := n.view.Refresh(ctx); err != nil {
		return err
	}
	l.covered.Store(taken)
	return nil
}

// served returns the shard if this node serves it.
func (n *Node) served(id state.Shard) *shard {
	if h, ok := n.hosted[id.Kind]; ok {
		return h.shards.get(id.Number)
	}
	return nil
}

// shards calls yield for every shard that this node serves.
func (n *Node) shards(yield func(*shard) bool) {
	for _, h := range n.hosted {
		for s := range h.shards.all {
			if !yield(s) {
				return
			}
		}
	}
}
