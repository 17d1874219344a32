package cajun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/leader"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/placement"
)

// Cluster is what one node knows of its cluster at one moment. It lags behind
// the truth by the way of a message.
type Cluster struct {
	Name string
	// Leader is the leader's session; empty while there is none.
	Leader string
	// Members are the live nodes, oldest first.
	Members []ClusterMember
	// Shards are the shards that were ever claimed, by kind and number.
	Shards []ClusterShard
}

// ClusterMember is a live node.
type ClusterMember struct {
	Session, Name, Address, Gateway, Version string
	// Kinds are the identities of the kinds that the node hosts.
	Kinds      []string
	Draining   bool
	ClientOnly bool
}

// ClusterShard is a shard and who holds it.
type ClusterShard struct {
	Kind   string
	Number uint32
	// Owner is a session, which may have ended since.
	Owner string
	Epoch uint64
	// Target is the session that is to own the shard next, if it moves.
	Target string
}

// Owner returns who holds the shard of an actor, and whether anybody does.
func (c Cluster) Owner(t Target) (ClusterShard, bool) {
	p := t.pid()
	kind, key := p.kind, p.key
	if kind == nil {
		return ClusterShard{}, false
	}
	shards := orDefault(kind.Shards, DefaultShards)
	i := slices.IndexFunc(c.Shards, func(s ClusterShard) bool {
		return s.Number == placement.ShardOf(key, shards) && (s.Kind == kind.Name || slices.Contains(kind.Aliases, s.Kind))
	})
	if i < 0 {
		return ClusterShard{}, false
	}
	return c.Shards[i], true
}

// Cluster returns what the node knows of its cluster.
func (n *Node) Cluster() Cluster {
	c := Cluster{Name: n.config.cluster}
	c.Leader, _ = n.leader.Leader()
	for _, m := range n.view.Live() {
		cm := ClusterMember{Session: m.Session, Name: m.Name, Address: m.Address, Gateway: m.Gateway, Version: m.Version, Draining: m.Draining, ClientOnly: m.ClientOnly}
		for kind := range m.Kinds {
			cm.Kinds = append(cm.Kinds, kind)
		}
		slices.Sort(cm.Kinds)
		c.Members = append(c.Members, cm)
	}
	for _, kind := range n.table.Kinds() {
		for number, rec := range n.table.Records(kind.Identity) {
			if rec.Epoch != 0 {
				c.Shards = append(c.Shards, ClusterShard{Kind: kind.Identity, Number: uint32(number), Owner: rec.Owner, Epoch: rec.Epoch, Target: rec.Target})
			}
		}
	}
	slices.SortStableFunc(c.Shards, func(a, b ClusterShard) int { return strings.Compare(a.Kind, b.Kind) })
	return c
}

// startPlacement begins to own shards and to take part in the leadership.
func (n *Node) startPlacement(ctx context.Context) (err error) {
	kinds := make([]placement.HostedKind, 0, len(n.hosted))
	for id, h := range n.hosted {
		kinds = append(kinds, placement.HostedKind{Identity: id, Shards: h.shards.len()})
	}
	n.manager, err = placement.Start(ctx, placement.Config{
		Store: n.config.metadata, Space: n.space, State: n.config.state, Session: n.session, View: n.view, Table: n.table,
		Kinds: kinds, Host: owner{n}, Logger: n.logger,
	})
	if err != nil {
		return err
	}
	n.leader, err = leader.Start(ctx, leader.Config{
		Store: n.config.metadata, Space: n.space, Session: n.session, View: n.view, Table: n.table, Prober: prober{n}, Logger: n.logger,
	})
	return err
}

// prober lets the leader look whether a member's process is there.
type prober struct{ n *Node }

// Probe implements leader.Prober.
func (p prober) Probe(ctx context.Context, m member.Member) error {
	err := p.n.endpoint.Probe(ctx, link.Peer{Session: m.Session, Address: m.Address})
	switch {
	case errors.Is(err, link.ErrRefused):
		return fmt.Errorf("%w: %w", leader.ErrRefused, err)
	case errors.Is(err, link.ErrWrongPeer):
		return fmt.Errorf("%w: %w", leader.ErrReplaced, err)
	}
	return err
}

// Connected implements leader.Prober.
func (p prober) Connected(session string) bool { return p.n.endpoint.Connected(session) }

// partingGrace is how long a node that has left the cluster may still deliver
// answers over a stream that is open: the news of its leaving may be faster
// than what it sent before.
const partingGrace = time.Second

// followMembers ends the exchange with sessions that are no members any more:
// nothing that they still say counts, and nothing that they were asked will be
// answered.
func (n *Node) followMembers() {
	left := make(map[string]time.Time) // when sessions were seen to be gone
	for {
		changed := n.view.Changed()
		waiting := n.partWith(left)
		var later <-chan time.Time
		if waiting {
			later = time.After(partingGrace)
		}
		select {
		case <-changed:
		case <-later:
		case <-n.ctx.Done():
			return
		}
	}
}

// partWith ends what can be ended, and reports whether some sessions that left
// may still deliver.
func (n *Node) partWith(left map[string]time.Time) (waiting bool) {
	snapshot := n.view.Snapshot()
	now := time.Now()
	var gone []*peer
	n.peersMu.Lock()
	for session, p := range n.peers {
		if _, alive := snapshot.Get(session); alive {
			delete(left, session)
			continue
		}
		since, seen := left[session]
		if !seen {
			since, left[session] = now, now
		}
		connected, parting := n.endpoint.Connected(session), now.Sub(since) < partingGrace
		waiting = waiting || parting
		if connected && parting {
			continue
		}
		gone = append(gone, p)
		// One that the view does not show yet, because it has just joined, must
		// not be forgotten: its frames are counted.
		if !connected && !parting {
			p.leave()
			delete(n.peers, session)
			delete(left, session)
		}
	}
	n.peersMu.Unlock()
	for _, p := range gone {
		p.fail("the actor's node left the cluster before it answered")
		p.end("the actor's node has left the cluster: open the stream again")
	}
	return waiting
}

// sweep passivates actors that were idle for too long, and keeps the coarse
// clock. It looks at every actor in memory a few times per idle timeout, so
// that an idle actor needs no timer.
func (n *Node) sweep() {
	period := time.Minute
	for _, h := range n.hosted {
		period = min(period, h.idle/sweepsPerTimeout)
	}
	began := time.Now()
	ticker := time.NewTicker(max(period, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-n.ctx.Done():
			return
		}
		now := time.Since(began)
		n.coarse.Store(int64(now))
		for s := range n.shards {
			before := int64(now - s.host.idle)
			for _, a := range s.all() {
				a.passivateIfIdle(before)
			}
		}
	}
}

// sweepsPerTimeout is how often actors are looked at within an idle timeout:
// the timeout is kept to within this part of it.
const sweepsPerTimeout = 8

// gate holds frames back until the node is up: it becomes a member, and known
// to others, a moment before it can answer.
type gate struct {
	to             receiver
	opened, closed <-chan struct{}
}

// Receive implements link.Receiver. It blocks only while the node starts.
func (g *gate) Receive(from string, f link.Frame) {
	select {
	case <-g.opened:
		g.to.Receive(from, f)
	case <-g.closed:
	}
}

// PeerDown implements link.Receiver.
func (g *gate) PeerDown(session string, err error) {
	select {
	case <-g.opened:
		g.to.PeerDown(session, err)
	default:
	}
}

// invokeRemote is the innermost outbound invoker.
func (n *Node) invokeRemote(ctx context.Context, c Call, req proto.Message) (proto.Message, error) {
	o := c.out
	fail := o.readjust(ctx, req)
	if fail == nil {
		var reply proto.Message
		if reply, fail = n.dispatch(ctx, o, req); fail == nil {
			return reply, nil
		}
	}
	o.authored = fail.err()
	return nil, o.authored
}

// invokeHandler is the innermost inbound invoker.
func invokeHandler(ctx context.Context, c Call, req proto.Message) (proto.Message, error) {
	c.in.reached = true
	return c.in.method.invoke(c.in.activation.actor, ctx, req)
}
