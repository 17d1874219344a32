//go:build unix

package crashtest

import (
	"net"
	"testing"
	"time"

	"github.com/cajun-go/cajun/crashtest/internal/process"
	"github.com/cajun-go/cajun/guarantee"
)

// A node that was killed and started again does not wait for the lease of its
// former life, also when there is nobody else to declare that dead.
func TestRestartOfTheOnlyNode(t *testing.T) {
	c := start(t, 1, 20*time.Second)
	for life := range 3 {
		if _, err := c.greet(t.Context(), guarantee.ExactlyOnce, "me", "1"); err != nil {
			t.Fatal(err)
		}
		c.nodes[0].Kill()
		began := time.Now()
		c.restart(0)
		up := time.Since(began)
		if got := c.tally("me").GetExactlyOnce(); got != uint64(life+1) {
			t.Errorf("the actor remembers %d calls, want %d", got, life+1)
		}
		took := time.Since(began)
		t.Logf("up %v after the restart, the actor back after %v", up, took)
		if limit := process.Limit(3 * time.Second); took > limit {
			t.Errorf("the actor was back after %v, want %v", took, limit)
		}
	}
}

// TestFullRestart kills all nodes at once: the state is there afterwards, and
// shards that had an owner get one without being asked for.
func TestFullRestart(t *testing.T) {
	c := start(t, 3, 20*time.Second)
	load := begin(c, 8, 60)
	c.eventually("calls", func() bool { return load.made() > 500 })
	for _, n := range c.nodes {
		n.Kill()
	}
	began := time.Now()
	claimed := len(c.caller.Cluster().Shards)
	for i := range c.nodes {
		c.nodes[i] = process.Launch(t, roleNode, nodeName(i), c.settings(i))
	}
	for _, n := range c.nodes {
		n.Ready()
	}
	load.end()
	took := time.Since(began)
	load.undelivered(t, false)
	load.audit(t)
	t.Logf("%d shards had owners; the last call under way was answered %v after the kill", claimed, took)
	if limit := process.Limit(5 * time.Second); took > limit {
		t.Errorf("calls waited %v for the restarted nodes, want at most %v", took, limit)
	}
}

// TestOrphansAreClaimedUnasked restarts all nodes when nobody calls.
func TestOrphansAreClaimedUnasked(t *testing.T) {
	c := start(t, 3, 20*time.Second)
	for i := range c.nodes {
		c.place(i, 20)
	}
	for _, n := range c.nodes {
		n.Kill()
	}
	began := time.Now()
	claimed := len(c.caller.Cluster().Shards)
	for i := range c.nodes {
		c.nodes[i] = process.Launch(t, roleNode, nodeName(i), c.settings(i))
	}
	for _, n := range c.nodes {
		n.Ready()
	}
	c.eventually("every shard has an owner among the new nodes", func() bool { return c.orphans() == 0 })
	took := time.Since(began)
	t.Logf("%d shards were claimed unasked, %v after the kill", claimed, took)
	if limit := process.Limit(5 * time.Second); took > limit {
		t.Errorf("orphans were claimed %v after the kill, want at most %v", took, limit)
	}
}

// orphans counts the shards whose owner is none of the nodes.
func (c *cluster) orphans() int {
	live := make(map[string]bool)
	for i := range c.nodes {
		live[c.session(i)] = true
	}
	n := 0
	for _, s := range c.caller.Cluster().Shards {
		if !live[s.Owner] {
			n++
		}
	}
	return n
}

// TestEtcdRestart kills the etcd under running nodes and starts it again on
// its data: at once, and after the leases would have expired. Nobody can renew
// a lease meanwhile; but an etcd that starts grants every lease its full time,
// so nodes suspend and resume, and none has to end.
func TestEtcdRestart(t *testing.T) {
	const ttl = 2 * time.Second
	s := process.EtcdSettings{Dir: t.TempDir(), Address: freeAddress(t)}
	etcd := process.Spawn(t, process.RoleEtcd, "etcd", s)
	c := startOn(t, []string{etcd.Ready()}, 3, ttl)
	load := begin(c, 8, 60)
	for _, suspended := range []bool{false, true} {
		before := load.made()
		c.eventually("calls", func() bool { return load.made() > before+300 })
		etcd.Kill()
		began := time.Now()
		if suspended {
			c.eventually("nodes without etcd are suspended", func() bool { return c.caller.Ready() != nil })
			t.Logf("suspended %v after the etcd died", time.Since(began))
		}
		etcd = process.Spawn(t, process.RoleEtcd, "etcd", s)
		up := time.Now()
		c.eventually("nodes resume", func() bool { return c.caller.Ready() == nil })
		if _, err := c.greet(t.Context(), guarantee.ExactlyOnce, "after", "1"); err != nil {
			t.Fatal(err)
		}
		took := time.Since(up)
		t.Logf("etcd was away for %v; calls went through %v after it was back", up.Sub(began), took)
		if limit := process.Limit(time.Second); took > limit {
			t.Errorf("calls went through only %v after etcd was back", took)
		}
	}
	began := time.Now()
	load.end()
	if took := time.Since(began); took > process.Limit(5*time.Second) {
		t.Errorf("calls waited %v longer than the etcd was away", took)
	}
	load.undelivered(t, false)
	load.audit(t)
	for i, n := range c.nodes {
		if !c.isMember(n.Ready()) {
			t.Errorf("node %d lost its session; it said %q", i, n.Said())
		}
	}
}

// freeAddress returns a loopback address that is free at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	door, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	return door.Addr().String()
}
