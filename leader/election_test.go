package leader

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
)

func TestOneLeader(t *testing.T) {
	run(t, 5, 0, func(t *testing.T, c *cluster) {
		leader := c.leader()
		if leader != c.nodes[0] {
			t.Error("the oldest does not lead")
		}
		for i, n := range c.nodes {
			if session, ok := n.leader.Leader(); !ok || session != leader.session.ID() {
				t.Errorf("node %d knows the leader %q, %v", i, session, ok)
			}
		}
		e, _, err := c.meta.Get(t.Context(), c.space.Leader())
		if err != nil || e.Lease != leader.session.Lease() {
			t.Errorf("the election is not bound to the leader's lease: %+v, %v", e, err)
		}
		c.during(time.Minute)
		if c.leader() != leader {
			t.Error("the leader changed for no reason")
		}
	})
}

// An election among many costs the store a few transactions.
func TestNoStampede(t *testing.T) {
	run(t, 100, 0, func(t *testing.T, c *cluster) {
		old := c.leader()
		for _, n := range c.nodes {
			n.wire.mu.Lock()
			n.wire.leaderKey = c.space.Leader()
			n.wire.mu.Unlock()
		}
		c.kill(old)
		took := c.within(time.Second, "a new leader", func() bool { return len(c.leaders()) == 1 })
		c.during(5 * time.Second)
		attempts := 0
		for _, n := range c.nodes {
			attempts += n.wire.elections
		}
		if attempts > 5 {
			t.Errorf("%d attempts", attempts)
		}
		t.Logf("%d attempts, elected after %v", attempts, took)
	})
}

func TestResign(t *testing.T) {
	run(t, 3, 0, func(t *testing.T, c *cluster) {
		old := c.leader()
		if err := old.leader.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := old.leader.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.within(200*time.Millisecond, "a successor", func() bool { return len(c.leaders()) == 1 })
		if c.leader() == old || !c.isMember(old) {
			t.Error("the old leader leads on, or is gone")
		}
	})
}

// Who resigns does not end somebody else's election.
func TestResignIsGuarded(t *testing.T) {
	run(t, 2, 0, func(t *testing.T, c *cluster) {
		old := c.leader()
		old.leader.stop()
		old.leader.work.Wait()
		if _, err := c.meta.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Delete(c.space.Leader())}}); err != nil {
			t.Fatal(err)
		}
		c.within(time.Second, "a successor", func() bool { return c.nodes[1].leads() })
		if err := old.leader.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, found, _ := c.meta.Get(t.Context(), c.space.Leader()); !found {
			t.Error("the successor's election was deleted")
		}
	})
}

func (n *node) leads() bool {
	session, ok := n.leader.Leader()
	return ok && session == n.session.ID()
}

// A leader that is cut off from the store stops acting before it is replaced,
// and never acts again.
func TestPausedLeader(t *testing.T) {
	run(t, 4, 0, func(t *testing.T, c *cluster) {
		old := c.leader()
		term := old.leader.election.Load().term
		old.wire.cut()
		c.during(old.session.TTL() + time.Second)
		if now := c.leader(); now == old {
			t.Fatal("it leads on without the store")
		}
		old.wire.heal()
		c.during(10 * time.Second)
		if old.session.Err() == nil {
			t.Error("its session is not lost")
		}
		if now := c.leader(); now == old || now.leader.election.Load().term <= term {
			t.Error("terms do not rise")
		}
	})
}

// A short interruption suspends the leader, and costs nothing else.
func TestSuspendedLeaderRests(t *testing.T) {
	run(t, 3, 0, func(t *testing.T, c *cluster) {
		leader := c.leader()
		leader.wire.cut()
		c.within(leader.session.TTL(), "suspended", func() bool { return leader.session.Check() != nil })
		synctest.Wait()
		if leader.leader.patrol.Load() != nil {
			t.Error("a suspended leader watches members")
		}
		leader.wire.heal()
		c.within(time.Second, "resumed", func() bool { return len(c.leaders()) == 1 })
		synctest.Wait()
		if c.leader() != leader || leader.leader.patrol.Load() == nil {
			t.Error("it does not lead on")
		}
	})
}

// A suspended session does not run either.
func TestSuspendedNodeDoesNotRun(t *testing.T) {
	run(t, 2, 0, func(t *testing.T, c *cluster) {
		n := c.nodes[1]
		role := n.leader.role(&election{}, member.Suspended)
		if role.kind != idle {
			t.Errorf("role %v", role)
		}
		n.wire.cut()
		c.within(n.session.TTL(), "suspended", func() bool { return n.session.Check() != nil })
		before := time.Now()
		if err := n.leader.stand(t.Context()); err == nil || time.Since(before) > 0 {
			t.Error("it ran for leader")
		}
	})
}

// Somebody who is no member any more is not elected.
func TestElectionNeedsTheMemberKey(t *testing.T) {
	run(t, 2, 0, func(t *testing.T, c *cluster) {
		n := c.nodes[1]
		ops := []metadata.Op{metadata.Delete(c.space.Leader()), metadata.Delete(n.session.Key())}
		for _, node := range c.nodes {
			node.leader.stop()
			node.leader.work.Wait()
		}
		if _, err := c.meta.Commit(t.Context(), metadata.Txn{Then: ops}); err != nil {
			t.Fatal(err)
		}
		// At this moment its session has not noticed.
		if err := n.leader.stand(t.Context()); err == nil && n.leads() {
			t.Error("elected")
		}
		if _, found, _ := c.meta.Get(t.Context(), c.space.Leader()); found {
			t.Error("it wrote the election")
		}
	})
}

func TestClientsDoNotLead(t *testing.T) {
	run(t, 0, 0, func(t *testing.T, c *cluster) {
		client := c.add(func(m *member.Member) { m.ClientOnly = true })
		c.during(time.Minute)
		if len(c.leaders()) != 0 {
			t.Fatal("a client leads")
		}
		worker := c.add(nil)
		c.within(time.Second, "a leader", func() bool { return len(c.leaders()) == 1 })
		synctest.Wait()
		if session, ok := client.leader.Leader(); !ok || session != worker.session.ID() {
			t.Error("the client does not know the leader")
		}
		if len(inLineBefore(client.view.Live(), worker.session.ID(), client.session.ID())) != 0 {
			t.Error("a client is in line")
		}
	})
}

// Draining nodes lead only when nobody else does.
func TestDrainingNodesComeLast(t *testing.T) {
	run(t, 3, 0, func(t *testing.T, c *cluster) {
		old, second, third := c.nodes[0], c.nodes[1], c.nodes[2]
		if err := second.session.Update(t.Context(), func(m *member.Member) { m.Draining = true }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := inLineBefore(third.view.Live(), old.session.ID(), third.session.ID()); len(got) != 1 || got[0] != old.session.ID() {
			t.Errorf("the line before the third is %q: a draining node stands in it", got)
		}
		c.kill(old)
		c.within(time.Second, "a new leader", func() bool { return len(c.leaders()) == 1 })
		if c.leader() != third {
			t.Error("the draining node leads")
		}
		c.kill(third)
		c.within(7*time.Second, "the last one leads", func() bool { return len(c.leaders()) == 1 })
		if c.leader() != second {
			t.Error("who leads?")
		}
	})
}

// What is learned late of earlier elections changes nothing.
func TestObserveGoesForwardOnly(t *testing.T) {
	run(t, 1, 0, func(t *testing.T, c *cluster) {
		l := c.leader().leader
		e := l.election.Load()
		l.observe(election{session: "old", term: 1, revision: e.revision})
		l.observe(election{revision: e.revision - 1})
		if now := l.election.Load(); now.term != e.term || now.session != e.session {
			t.Errorf("now %+v", now)
		}
		follower{l}.Apply(metadata.Batch{Events: []metadata.Event{{
			Entry: metadata.Entry{Key: c.space.Leader() + "board", Created: 1 << 40, Modified: 1 << 40},
		}}})
		if now := l.election.Load(); now.term != e.term {
			t.Errorf("another key counts: %+v", now)
		}
	})
}
