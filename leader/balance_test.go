package leader

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/placement"
	"github.com/cajun-go/cajun/state"
)

// claimAll has every shard claimed where the nodes would claim it.
func (c *cluster) claimAll() {
	c.t.Helper()
	shards, _ := c.kind()
	for n := range shards {
		preferred, ok := c.nodes[0].manager.Preferred(testKind, uint32(n))
		if !ok {
			c.t.Fatal("nobody takes shards")
		}
		i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.session.ID() == preferred })
		if _, err := c.nodes[i].manager.Claim(c.t.Context(), state.Shard{Kind: testKind, Number: uint32(n)}); err != nil {
			c.t.Fatal(err)
		}
		synctest.Wait()
	}
}

func (c *cluster) records() []placement.Record {
	c.t.Helper()
	snap, err := c.meta.List(c.t.Context(), c.space.ShardsOf(testKind))
	if err != nil {
		c.t.Fatal(err)
	}
	shards, _ := c.kind()
	records := make([]placement.Record, shards)
	for _, e := range snap.Entries {
		_, n, ok := c.space.ParseShard(e.Key)
		r, err := placement.Decode(e)
		if !ok || err != nil {
			c.t.Fatal(e.Key, err)
		}
		records[n] = r
	}
	return records
}

// loads counts the open shards of each node, and those that are on their way.
func (c *cluster) loads() (loads []int, moving int) {
	loads = make([]int, len(c.nodes))
	for _, r := range c.records() {
		switch i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.session.ID() == r.Owner }); {
		case r.Epoch != 0 && r.Phase != placement.Open:
			moving++
		case i >= 0:
			loads[i]++
		}
	}
	return loads, moving
}

// even says whether the loads of these nodes are within a tenth or one shard
// of their mean, and nobody else has any.
func (c *cluster) even(nodes ...int) bool {
	loads, moving := c.loads()
	total := 0
	for _, load := range loads {
		total += load
	}
	mean := float64(total) / float64(len(nodes))
	for i, load := range loads {
		if !slices.Contains(nodes, i) {
			if load != 0 {
				return false
			}
		} else if math.Abs(float64(load)-mean) > max(1, mean/10) {
			return false
		}
	}
	return moving == 0
}

func (c *cluster) drain(n *node) {
	c.t.Helper()
	if err := n.session.Update(c.t.Context(), func(m *member.Member) { m.Draining = true }); err != nil {
		c.t.Fatal(err)
	}
}

func TestMovesOnJoinAndDrain(t *testing.T) {
	run(t, 2, 90, func(t *testing.T, c *cluster) {
		c.claimAll()
		if !c.even(0, 1) {
			t.Fatal(c.loads())
		}
		before := c.records()
		third := c.add(nil)
		took := c.within(2*time.Second, "even with three", func() bool { return c.even(0, 1, 2) })
		moved := 0
		for n, r := range c.records() {
			if r.Owner == before[n].Owner {
				continue
			}
			if moved++; r.Owner != third.session.ID() {
				t.Errorf("shard %d moved between nodes that were there before", n)
			}
			if r.Epoch != before[n].Epoch+1 {
				t.Errorf("shard %d went from epoch %d to %d", n, before[n].Epoch, r.Epoch)
			}
		}
		if moved != 30 {
			t.Errorf("%d shards moved, want the share of 30", moved)
		}
		t.Logf("joined after %v", took)

		c.drain(c.nodes[0])
		took = c.within(2*time.Second, "drained", func() bool { return c.even(1, 2) })
		t.Logf("drained after %v", took)
		settled := c.records()
		c.during(10 * time.Second)
		if !slices.Equal(settled, c.records()) {
			t.Error("shards move for no reason")
		}
	})
}

// The leader itself may be the one that drains; and who could take nothing
// over is given nothing.
func TestDrainOfTheLeader(t *testing.T) {
	run(t, 3, 30, func(t *testing.T, c *cluster) {
		c.claimAll()
		c.add(func(m *member.Member) { m.Kinds = nil })
		c.add(func(m *member.Member) { m.ClientOnly = true })
		c.drain(c.leader())
		c.within(2*time.Second, "drained", func() bool { return c.even(1, 2) })
	})
}

func TestNoMoveWithoutAnotherHost(t *testing.T) {
	run(t, 1, 30, func(t *testing.T, c *cluster) {
		c.claimAll()
		before := c.records()
		c.drain(c.nodes[0])
		synctest.Wait()
		if due, _ := dueMoves(testKind, before, c.leader().view.Snapshot()); len(due) != 0 {
			t.Errorf("%d moves to nobody", len(due))
		}
		c.during(5 * time.Second)
		if !slices.Equal(before, c.records()) {
			t.Error("records changed")
		}
		c.add(nil)
		c.within(2*time.Second, "drained", func() bool { return c.even(1) })
	})
}

// The leader dies while shards are on their way; the next one finishes.
func TestNewLeaderResumes(t *testing.T) {
	run(t, 3, 60, func(t *testing.T, c *cluster) {
		c.claimAll()
		leader, other := c.leader(), c.nodes[1]
		stall := make(chan struct{})
		other.host.stall = stall
		c.drain(other)
		c.within(time.Second, "moves begin", func() bool { _, moving := c.loads(); return moving > 0 })
		c.kill(leader)
		close(stall)
		c.within(10*time.Second, "all at the last one", func() bool { return c.even(2) })
	})
}

// Shards of the dead are not the leader's business.
func TestShardsOfTheDeadAreLeftAlone(t *testing.T) {
	run(t, 3, 30, func(t *testing.T, c *cluster) {
		c.claimAll()
		members := c.leader().view.Snapshot()
		records := c.records()
		for n := range records {
			if n%2 == 0 {
				records[n].Owner = "dead"
			}
		}
		due, _ := dueMoves(testKind, records, members)
		for _, mv := range due {
			if mv.from.Owner == "dead" {
				t.Errorf("shard %d of the dead would be moved", mv.shard)
			}
		}
	})
}

// What is on its way is counted and let be, wherever the plan wants it now.
func TestMovesUnderWayAreLeftAlone(t *testing.T) {
	run(t, 3, 30, func(t *testing.T, c *cluster) {
		c.claimAll()
		members := c.leader().view.Snapshot()
		records := c.records()
		target := c.nodes[2].session.ID()
		for n := range records {
			switch n % 3 {
			case 0:
				records[n] = records[n].Moving(target)
			case 1:
				records[n] = records[n].ReleasedTo(target)
			}
		}
		due, moving := dueMoves(testKind, records, members)
		if moving != 20 {
			t.Errorf("%d under way, want 20", moving)
		}
		for _, mv := range due {
			if mv.from.Phase != placement.Open {
				t.Errorf("a move of shard %d in phase %v", mv.shard, mv.from.Phase)
			}
		}
	})
}

// A table that does not show the latest moves is not planned on.
func TestNoPlanOnAnOldTable(t *testing.T) {
	run(t, 2, 10, func(t *testing.T, c *cluster) {
		c.claimAll()
		b, _ := aMove(t, c)
		c.drain(c.nodes[0])
		synctest.Wait()
		b.written = b.l.table.Revision() + 1
		if err := b.round(t.Context()); !errors.Is(err, errBehind) {
			t.Errorf("round: %v", err)
		}
		b.written--
		before := b.written
		if err := b.round(t.Context()); err != nil || b.written == before {
			t.Errorf("round: %v, nothing was moved", err)
		}
	})
}

// However many shards must move, few are on their way at a time.
func TestFewShardsInMotion(t *testing.T) {
	run(t, 1, 1000, func(t *testing.T, c *cluster) {
		c.claimAll()
		stall := make(chan struct{})
		c.nodes[0].host.stall = stall
		c.add(nil)
		c.drain(c.nodes[0])
		for range 100 {
			pass(10 * time.Millisecond)
			if _, moving := c.loads(); moving > inMotion {
				t.Fatalf("%d shards in motion", moving)
			}
		}
		if _, moving := c.loads(); moving != inMotion {
			t.Errorf("%d shards in motion, want %d", moving, inMotion)
		}
		close(stall)
		c.nodes[0].host.mu.Lock()
		c.nodes[0].host.stall = nil
		c.nodes[0].host.mu.Unlock()
		took := c.within(10*time.Second, "drained", func() bool { return c.even(1) })
		t.Logf("1000 shards moved after %v", took)
	})
}

// Shards leave draining nodes before others are moved for balance.
func TestDrainsGoFirst(t *testing.T) {
	run(t, 2, 600, func(t *testing.T, c *cluster) {
		c.claimAll()
		leader := c.leader()
		leader.leader.stop()
		leader.leader.work.Wait()
		for _, n := range c.nodes {
			n.host.stall = make(chan struct{})
		}
		c.drain(c.nodes[1])
		c.add(nil)
		c.add(nil)
		b := &balancer{l: leader.leader, term: leader.leader.election.Load().term}
		if err := b.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		by := make(map[string]int)
		for _, r := range c.records() {
			if r.Phase == placement.Draining {
				by[r.Owner]++
			}
		}
		if by[c.nodes[1].session.ID()] != inMotion {
			t.Errorf("%v are on their way, want only those of the draining node", by)
		}
	})
}

// aMove is a move that would apply, and the balancer to make it.
func aMove(t *testing.T, c *cluster) (*balancer, move) {
	t.Helper()
	leader, target := c.leader(), c.nodes[1]
	// Only the balancer of the test moves anything.
	for _, n := range c.nodes {
		n.leader.stop()
		n.leader.work.Wait()
	}
	records := c.records()
	i := slices.IndexFunc(records, func(r placement.Record) bool { return r.Owner == leader.session.ID() })
	m, _ := leader.view.Get(target.session.ID())
	b := &balancer{l: leader.leader, term: leader.leader.election.Load().term}
	return b, move{kind: testKind, shard: uint32(i), from: records[i], target: m}
}

// Each condition of a move keeps it from being applied to what has changed.
func TestMovesAreGuarded(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(t *testing.T, c *cluster, b *balancer, mv *move)
		applies bool
	}{
		"nothing changed": {func(*testing.T, *cluster, *balancer, *move) {}, true},
		"deposed":         {func(_ *testing.T, _ *cluster, b *balancer, _ *move) { b.term-- }, false},
		"record changed":  {func(_ *testing.T, _ *cluster, _ *balancer, mv *move) { mv.from.Modified-- }, false},
		"target is another session": {func(_ *testing.T, _ *cluster, _ *balancer, mv *move) {
			mv.target.Created--
		}, false},
		"target gone": {func(t *testing.T, c *cluster, _ *balancer, mv *move) {
			del := metadata.Delete(c.space.Member(mv.target.Session))
			if _, err := c.meta.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{del}}); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 2, 10, func(t *testing.T, c *cluster) {
				c.claimAll()
				b, mv := aMove(t, c)
				for _, n := range c.nodes {
					n.host.stall = make(chan struct{})
				}
				tc.change(t, c, b, &mv)
				if err := b.start(t.Context(), []move{mv}); err != nil {
					t.Fatal(err)
				}
				got := c.records()[mv.shard]
				if applied := got.Phase != placement.Open; applied != tc.applies {
					t.Errorf("applied: %v, record %+v", applied, got)
				}
			})
		})
	}
}

// One move that cannot be made does not hold up the others of its transaction.
func TestRefusedMovesStandAlone(t *testing.T) {
	run(t, 2, 40, func(t *testing.T, c *cluster) {
		c.claimAll()
		b, mv := aMove(t, c)
		for _, n := range c.nodes {
			n.host.stall = make(chan struct{})
		}
		var moves []move
		for n, r := range c.records() {
			if r.Owner == mv.from.Owner {
				moves = append(moves, move{kind: testKind, shard: uint32(n), from: r, target: mv.target})
			}
		}
		moves[3].from.Modified--
		if err := b.start(t.Context(), moves); err != nil {
			t.Fatal(err)
		}
		records := c.records()
		for i, mv := range moves {
			if moved := records[mv.shard].Phase != placement.Open; moved != (i != 3) {
				t.Errorf("move %d of %d made: %v", i, len(moves), moved)
			}
		}
	})
}

func TestSuspendedLeaderMovesNothing(t *testing.T) {
	run(t, 2, 10, func(t *testing.T, c *cluster) {
		c.claimAll()
		b, mv := aMove(t, c)
		leader := c.nodes[0]
		leader.wire.cut()
		c.within(leader.session.TTL(), "suspended", func() bool { return leader.session.Check() != nil })
		before := time.Now()
		if err := b.start(t.Context(), []move{mv}); err == nil || time.Since(before) > 0 {
			t.Errorf("it tried: %v", err)
		}
	})
}

// The largest transaction fits, with a target of its own for every shard.
func TestLargestBatchFits(t *testing.T) {
	run(t, 1, 0, func(t *testing.T, c *cluster) {
		b := &balancer{l: c.leader().leader, term: 1}
		var moves []move
		for n := range batchSize {
			moves = append(moves, move{
				kind: testKind, shard: uint32(n),
				from:   placement.Record{Owner: "owner", Epoch: 1, Phase: placement.Open, Modified: 1},
				target: member.Member{Session: fmt.Sprint("target-", n), Created: 1},
			})
		}
		txn, err := b.txn(moves)
		if err != nil || txn.Validate() != nil {
			t.Errorf("%v, %v", err, txn.Validate())
		}
	})
}
