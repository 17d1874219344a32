package leader

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
)

// soon is well under a TTL: what a burial may take from the crash on.
const soon = 500 * time.Millisecond

func TestBurialOfAMember(t *testing.T) {
	for name, c := range map[string]condition{"refusing": refusing, "replaced": replaced} {
		t.Run(name, func(t *testing.T) {
			run(t, 4, 0, func(t *testing.T, cl *cluster) {
				leader, dead := cl.leader(), cl.nodes[2]
				dead.stop()
				cl.net.set(dead, c)
				cl.net.hangUp(dead)
				took := cl.within(soon, "burial", func() bool { return !cl.isMember(dead) })
				t.Logf("buried after %v", took)
				cl.during(10 * time.Second)
				if cl.leader() != leader {
					t.Error("the leader changed")
				}
				for i, n := range cl.nodes {
					if n != dead && !cl.isMember(n) {
						t.Errorf("node %d is gone too", i)
					}
				}
			})
		})
	}
}

func TestBurialOfTheLeader(t *testing.T) {
	run(t, 4, 0, func(t *testing.T, c *cluster) {
		old := c.leader()
		c.kill(old)
		took := c.within(soon, "burial and election", func() bool { return !c.isMember(old) && len(c.leaders()) == 1 })
		t.Logf("a new leader after %v", took)
		if c.leader() != c.nodes[1] {
			t.Error("the next in line does not lead")
		}
		c.kill(c.leader())
		c.within(soon, "again", func() bool { return !c.isMember(c.nodes[1]) && len(c.leaders()) == 1 })
	})
}

// When the next in line dies, another one watches the leader.
func TestTheLineMovesUp(t *testing.T) {
	run(t, 4, 0, func(t *testing.T, c *cluster) {
		leader, second := c.leader(), c.nodes[1]
		c.kill(second)
		c.within(soon, "burial of the next in line", func() bool { return !c.isMember(second) })
		pass(time.Second)
		c.kill(leader)
		c.within(soon, "burial of the leader", func() bool { return !c.isMember(leader) && len(c.leaders()) == 1 })
		if c.leader() != c.nodes[2] {
			t.Error("the third does not lead")
		}
	})
}

// Nodes that only call have no address to refuse at.
func TestClientsAreNotWatched(t *testing.T) {
	run(t, 2, 0, func(t *testing.T, c *cluster) {
		client := c.add(func(m *member.Member) { m.ClientOnly = true })
		c.net.set(client, refusing)
		c.net.hangUp(client)
		c.during(10 * time.Second)
		if !c.isMember(client) || c.net.probed(c.leader(), client) != 0 {
			t.Error("it was")
		}
	})
}

// A member that nobody knew to be there when it died is found as well: the
// leader looks at everybody once.
func TestBurialOfAMemberThatDiedUnseen(t *testing.T) {
	run(t, 2, 0, func(t *testing.T, c *cluster) {
		dead := c.add(func(m *member.Member) { m.Address = "n9" })
		c.net.set(dead, refusing) // never answered
		dead.stop()
		c.net.mu.Lock()
		clear(c.net.streams)
		c.net.mu.Unlock()
		c.within(3*lookAgain, "burial", func() bool { return !c.isMember(dead) })
	})
}

// Neither silence nor any other error is a death.
func TestNoBurialWithoutRefusal(t *testing.T) {
	other := errors.New("test: TLS handshake failed")
	for name, onProbe := range map[string]func(string, int) error{
		"silent":           nil,
		"other error":      func(string, int) error { return other },
		"every third good": func(_ string, n int) error { return map[bool]error{true: nil, false: ErrRefused}[n%3 == 0] },
		"every third else": func(_ string, n int) error { return map[bool]error{true: other, false: ErrRefused}[n%3 == 0] },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 3, 0, func(t *testing.T, c *cluster) {
				c.net.mu.Lock()
				c.net.onProbe = onProbe
				clear(c.net.probes)
				c.net.mu.Unlock()
				for _, n := range c.nodes {
					c.net.set(n, silent)
				}
				for _, n := range c.nodes {
					c.net.hangUp(n)
				}
				c.during(time.Minute)
				for i, n := range c.nodes {
					if !c.isMember(n) {
						t.Errorf("node %d was buried alive", i)
					}
				}
				if c.net.probed(c.nodes[0], c.nodes[2]) < 5 || c.net.probed(c.nodes[1], c.nodes[0]) < 5 {
					t.Error("nobody was looked at again")
				}
			})
		})
	}
}

// A stream from the suspect is a sign of life, whatever its address says and
// whenever it comes.
func TestNoBurialWhileConnected(t *testing.T) {
	for name, stream := range map[string]func(n int) bool{
		"all the time":           func(int) bool { return true },
		"after the last refusal": func(n int) bool { return n > 0 && n%refusals == 0 },
		"once in between":        func(n int) bool { return n%refusals == 1 },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 3, 0, func(t *testing.T, c *cluster) {
				leader, suspect := c.leader(), c.nodes[2]
				pair := [2]string{suspect.session.ID(), leader.session.ID()}
				c.net.hangUp(suspect) // before it refuses: streams come back
				synctest.Wait()
				c.net.mu.Lock()
				clear(c.net.streams)
				clear(c.net.probes)
				c.net.streams[pair] = stream(0)
				c.net.onProbe = func(session string, n int) error {
					if session != suspect.session.ID() {
						return nil
					}
					c.net.mu.Lock()
					defer c.net.mu.Unlock()
					c.net.streams[pair] = stream(n)
					return ErrRefused
				}
				c.net.mu.Unlock()
				leader.leader.Suspect(suspect.session.ID())
				c.during(200 * time.Millisecond)
				if !c.isMember(suspect) {
					t.Error("buried alive")
				}
			})
		})
	}
}

// Only the leader buries, except for the leader itself, which the next in line
// buries.
func TestWhoMayBury(t *testing.T) {
	run(t, 5, 0, func(t *testing.T, c *cluster) {
		leader := c.leader()
		leader.wire.cut() // it will not bury anybody
		c.within(leader.session.TTL(), "suspended", func() bool { return leader.session.Check() != nil })
		leader.wire.heal()
		leader.leader.stop() // alive, but does not do its work
		leader.leader.work.Wait()
		dead := c.nodes[3]
		c.kill(dead)
		for _, n := range c.nodes {
			n.leader.Suspect(dead.session.ID())
		}
		c.during(2 * time.Second)
		if !c.isMember(dead) {
			t.Error("somebody else than the leader buried it")
		}
		c.during(dead.session.TTL())
		if c.isMember(dead) {
			t.Error("its lease did not end")
		}
		for i, n := range c.nodes[2:] {
			if c.net.probed(n, leader) != 0 {
				t.Errorf("node %d watches the leader and is not next in line", i+2)
			}
		}
	})
}

func TestNextInLineNeedsItsMemberKey(t *testing.T) {
	run(t, 3, 0, func(t *testing.T, c *cluster) {
		leader, second := c.leader(), c.nodes[1]
		p := &patrol{l: second.leader, role: role{kind: heir, leader: leader.session.ID()}}
		if _, err := c.meta.Commit(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Delete(second.session.Key())}}); err != nil {
			t.Fatal(err)
		}
		// At this moment its session has not noticed.
		if p.bury(t.Context(), leader.session.ID()) || !c.isMember(leader) {
			t.Error("somebody who is no member buried the leader")
		}
	})
}

func TestDeposedLeaderBuriesNobody(t *testing.T) {
	run(t, 3, 0, func(t *testing.T, c *cluster) {
		leader, other := c.leader(), c.nodes[2]
		term := leader.leader.election.Load().term
		p := &patrol{l: leader.leader, role: role{kind: leading, leader: leader.session.ID(), term: term - 1}}
		if p.bury(t.Context(), other.session.ID()) || !c.isMember(other) {
			t.Error("it buried in a term that is over")
		}
		p.role.term = term
		if !p.bury(t.Context(), other.session.ID()) || c.isMember(other) {
			t.Error("it could not bury in its own term")
		}
	})
}

func TestSuspendedNodesBuryNobody(t *testing.T) {
	run(t, 3, 0, func(t *testing.T, c *cluster) {
		leader, other := c.leader(), c.nodes[2]
		p := &patrol{l: leader.leader, role: role{kind: leading, term: leader.leader.election.Load().term}}
		leader.wire.cut()
		c.within(leader.session.TTL(), "suspended", func() bool { return leader.session.Check() != nil })
		before := time.Now()
		if p.bury(t.Context(), other.session.ID()) || time.Since(before) > 0 {
			t.Error("it tried")
		}
	})
}

// A process that is just ending resets a few connections before its address
// refuses them. That must not cost the time until the next look.
func TestBurialOfAMemberThatResetsConnectionsFirst(t *testing.T) {
	reset := errors.New("test: connection reset by peer")
	run(t, 4, 0, func(t *testing.T, c *cluster) {
		for _, dead := range []*node{c.nodes[3], c.nodes[0]} { // of the leader, and the leader
			c.net.mu.Lock()
			clear(c.net.probes)
			c.net.onProbe = func(session string, n int) error {
				if n <= 2 {
					return reset
				}
				return ErrRefused
			}
			c.net.mu.Unlock()
			dead.stop()
			c.net.set(dead, silent)
			c.net.hangUp(dead)
			c.within(soon, "burial", func() bool { return !c.isMember(dead) })
		}
	})
}

// When the leader dies together with those who were to bury it, whoever is next
// does, also when that is a node that was started only afterwards.
func TestBurialOfTheLeaderAndItsHeirs(t *testing.T) {
	run(t, 5, 0, func(t *testing.T, c *cluster) {
		dead := c.nodes[:3]
		for _, n := range dead {
			c.kill(n)
		}
		took := c.within(soon, "burials and election", func() bool {
			return !c.isMember(dead[0]) && !c.isMember(dead[1]) && !c.isMember(dead[2]) && len(c.leaders()) == 1
		})
		t.Logf("a new leader after %v", took)
		if c.leader() != c.nodes[3] {
			t.Error("the next in line does not lead")
		}
		c.kill(c.nodes[3])
		c.kill(c.nodes[4])
		c.add(nil)
		c.within(soon, "burials and election", func() bool {
			return !c.isMember(c.nodes[3]) && !c.isMember(c.nodes[4]) && len(c.leaders()) == 1
		})
	})
}

// An heir acts only when nobody before it in line is there to act.
func TestHeirsWaitForThoseBefore(t *testing.T) {
	run(t, 4, 0, func(t *testing.T, c *cluster) {
		leader, last := c.leader(), c.nodes[3]
		c.nodes[1].leader.stop() // alive, but does not do its work
		c.nodes[1].leader.work.Wait()
		c.kill(c.nodes[2])
		c.kill(leader)
		last.leader.Suspect(c.nodes[2].session.ID())
		c.during(2 * time.Second)
		if !c.isMember(leader) {
			t.Error("the leader was buried by somebody who was not next in line")
		}
	})
}
