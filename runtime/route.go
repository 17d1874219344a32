package cajun

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/placement"
)

const (
	// maxHeld bounds how many calls of a node may wait for an owner at once.
	maxHeld = 16 << 10
	// holdPause is how long a call waits for news of a moving shard before it
	// asks again.
	holdPause = 100 * time.Millisecond
	// maxWaits is how often a call asks an owner to say when it serves, before
	// it only asks after pauses.
	maxWaits = 8
)

// carry brings a call to its actor: it finds the owner, makes attempts, and
// repeats them as far as the delivery level allows.
func (n *Node) carry(ctx context.Context, o *outgoing, req proto.Message) (proto.Message, *failure) {
	o.carried = true
	held := false
	defer func() {
		if held {
			n.held.Add(-1)
		}
	}()
	// The first attempt does not ask for news of the table: almost always there
	// is no second one, and a change missed now only costs a short pause.
	var changed <-chan struct{}
	for attempt := 1; ; attempt++ {
		reply, fail := n.attempt(ctx, o, req)
		if fail == nil {
			return reply, nil
		}
		own := *fail // it may be shared with other calls
		fail = &own
		if fail.outcome != guarantee.NotExecuted {
			o.tries++
		}
		o.waited = true
		o.last = fail.outcome
		o.outcome = o.outcome.After(fail.outcome)
		fail.outcome = o.outcome
		if !o.again(fail) {
			return nil, fail
		}
		if !held {
			if held = true; n.held.Add(1) > maxHeld {
				fail.code, fail.message = connect.CodeResourceExhausted, "too many calls wait for owners of their actors: "+fail.message
				return nil, fail
			}
		}
		if cause := n.pause(ctx, o, changed, attempt); cause != nil {
			late := interrupted(cause, o.outcome, "while the call was tried again; before that: "+fail.message)
			return nil, late.because(cause)
		}
		changed = n.table.Changed()
	}
}

// again reports whether a failed attempt is to be followed by another one.
func (o *outgoing) again(fail *failure) bool {
	switch {
	case !fail.retryable:
		return false
	case fail.outcome == guarantee.NotExecuted:
		return true // safe at every level: the handler has not run
	}
	return o.level >= guarantee.AtLeastOnce && o.spec.opts.Retry.Allows(o.tries+1)
}

// pause waits before the next attempt: for a jittered while, and no longer
// than until the routing view changes. It returns why the caller gave up.
func (n *Node) pause(ctx context.Context, o *outgoing, changed <-chan struct{}, attempt int) error {
	if o.hint != nil || o.early != 0 || o.claimed {
		o.claimed = false
		return nil // the way is known: no need to wait
	}
	d := o.spec.opts.Retry.Pause(attempt, rand.Float64())
	left := o.left()
	if left <= 0 {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(min(d, left))
	defer timer.Stop()
	select {
	case <-timer.C:
		if d >= left {
			return context.DeadlineExceeded // too late for another attempt
		}
	case <-changed:
	case <-ctx.Done():
		return causeOf(ctx)
	case <-n.ctx.Done():
		return causeOf(n.ctx)
	}
	return nil
}

// route is where the next attempt goes: to a shard of this node, to another
// member under an epoch, or to a member that is to claim the shard first.
type route struct {
	local *shard
	to    member.Member
	epoch uint64
	claim bool
	// hold says that the shard is on its way to a new owner: wait for news.
	hold bool
}

// route finds the way to the call's actor in what this node knows.
func (n *Node) route(o *outgoing) (route, *failure) {
	if h, ok := n.hosted[o.identity]; ok {
		if s := h.shards.get(o.shard); s != nil {
			return route{local: s}, nil
		}
	}
	rec, found := n.table.Lookup(o.identity, o.shard)
	wait := o.early
	o.early = 0 // whatever way is taken
	if hint := o.hint; hint != nil {
		o.hint = nil // it is good for one attempt; the view catches up
		if to, alive := n.view.Get(hint.Owner); alive && hint.Epoch > rec.Epoch {
			return route{to: to, epoch: hint.Epoch}, nil
		}
	}
	if found && rec.Phase == placement.Released {
		if _, alive := n.view.Get(rec.Target); alive {
			return route{hold: true}, nil
		}
	} else if found {
		if to, alive := n.view.Get(rec.Owner); alive {
			return route{to: to, epoch: rec.Epoch, claim: wait == rec.Epoch || rec.Owner == n.ID()}, nil
		}
	}
	return n.claimant(o)
}

// claimant picks who is to claim a shard that nobody holds: the members that
// host the kind take turns.
func (n *Node) claimant(o *outgoing) (route, *failure) {
	order := n.manager.Turns(o.identity, o.shard)
	able := slices.DeleteFunc(slices.Clone(order), func(session string) bool {
		m, alive := n.view.Get(session)
		return alive && !o.able(m)
	})
	if len(able) == 0 && len(order) > 0 {
		m, _ := n.view.Get(order[0])
		return route{}, n.lacking(o, m.Name)
	}
	order = able
	if len(order) == 0 {
		f := refuse(connect.CodeUnavailable, "no live node of cluster %q hosts %s: start one with its Host option, or wait until one is back", n.config.cluster, o.spec.kind.Name)
		f.retryable = o.level >= guarantee.AtLeastOnce
		return route{}, f
	}
	to, alive := n.view.Get(order[o.candidate%len(order)])
	if !alive {
		return route{}, unavailable("the node that was to take the actor has just left")
	}
	return route{to: to, claim: true}, nil
}

// attempt makes one attempt of a call.
func (n *Node) attempt(ctx context.Context, o *outgoing, req proto.Message) (proto.Message, *failure) {
	r, fail := n.route(o)
	if fail != nil {
		return nil, fail
	}
	switch {
	case r.local != nil:
		return n.callLocal(ctx, o, r.local, req)
	case r.hold:
		return nil, n.hold(ctx, o)
	case !o.able(r.to):
		return nil, n.lacking(o, r.to.Name)
	case r.claim && r.to.Session == n.ID():
		return nil, n.claimHere(ctx, o)
	case r.claim:
		fail = n.claimThere(ctx, o, r.to)
	default:
		var reply proto.Message
		if reply, fail = n.callRemote(ctx, o, r.to, r.epoch, req); fail == nil {
			return reply, nil
		}
	}
	switch to := fail.redirect; {
	case to == nil || to.Owner == "":
	case to.Epoch > r.epoch:
		// Only what route will follow is worth going on at once: to somebody who
		// is alive here too, and news.
		_, alive := n.view.Get(to.Owner)
		if rec, _ := n.table.Lookup(o.identity, o.shard); alive && to.Epoch > rec.Epoch {
			o.hint = to
		}
	case to.Owner != r.to.Session || to.Epoch != r.epoch || to.Target != "":
	case r.claim:
		o.claimed = true // it serves the shard now
	case o.waits < maxWaits:
		o.early = r.epoch
		o.waits++
	}
	return nil, fail
}

// hold waits for the record of a shard that is being handed over to change.
func (n *Node) hold(ctx context.Context, o *outgoing) *failure {
	changed := n.table.Changed()
	timer := time.NewTimer(min(holdPause, o.left()))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	case <-n.ctx.Done():
	}
	return unavailable("the actor is moving to another node")
}

// claimHere takes the shard for this node.
func (n *Node) claimHere(ctx context.Context, o *outgoing) *failure {
	rec, err := n.manager.Claim(o.bounded(ctx), n.shardID(o.identity, o.shard))
	if err != nil {
		o.candidate++
		return unavailable("this node could not take the actor: %v", err).because(err)
	}
	if rec.Owner != n.ID() {
		o.hint = &link.Redirect{Owner: rec.Owner, Epoch: rec.Epoch}
	} else if h := n.hosted[o.identity]; h != nil && h.shards.get(o.shard) != nil {
		o.claimed = true
	}
	return unavailable("the actor's shard was just taken by a node")
}

// claimThere asks another node to take the shard. Its answer says who has it
// now.
func (n *Node) claimThere(ctx context.Context, o *outgoing, to member.Member) *failure {
	_, fail := n.exchange(ctx, o, to, &link.Request{Kind: o.identity, Shard: o.shard}, nil)
	if fail == nil {
		return unavailable("node %s did not say who has the actor's shard", to.Name)
	}
	if fail.redirect == nil {
		o.candidate++
	}
	fail.outcome, fail.retryable = guarantee.NotExecuted, true // no handler was asked
	return fail
}
