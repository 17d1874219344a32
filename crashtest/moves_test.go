//go:build unix

package crashtest

import (
	"math"
	"testing"
	"time"
)

// TestDrainAndJoin takes a node out in good order and adds another one, under
// load: not one call fails for it, at any level.
func TestDrainAndJoin(t *testing.T) {
	c := start(t, 3, 5*time.Second)
	load := begin(c, 6, 100)
	c.eventually("calls", func() bool { return load.made() > 500 })
	for _, leaving := range []int{2, 0} { // an ordinary node, and the leader
		session := c.session(leaving)
		before := c.owned()[session]
		began := time.Now()
		c.nodes[leaving].Tell("drain 20s")
		c.nodes[leaving].Await("drained")
		t.Logf("node %d handed %d shards over in %v", leaving, before, time.Since(began))
		c.nodes[leaving].Await("ended well")
		c.nodes[leaving].Wait(t.Context())
		c.eventually("nothing names the node", func() bool { return c.owned()[session] == 0 && !c.isMember(session) })

		began = time.Now()
		c.restart(leaving)
		took := c.eventually("the newcomer gets its share", c.balanced)
		t.Logf("the newcomer had its share %v after its start, %v after it was up: %v", time.Since(began), took, c.owned())
	}
	before := load.made()
	c.eventually("more calls", func() bool { return load.made() > before+200 })
	load.end()
	load.undelivered(t, true)
	load.audit(t)
}

// owned counts the shards by the session that has them or is about to.
func (c *cluster) owned() map[string]int {
	counts := make(map[string]int)
	for _, s := range c.caller.Cluster().Shards {
		if s.Target != "" {
			counts[s.Target]++
		} else {
			counts[s.Owner]++
		}
	}
	return counts
}

// balanced reports whether no shard is on its way and every node's load is
// within a tenth of the mean, or one shard.
func (c *cluster) balanced() bool {
	cluster := c.caller.Cluster()
	for _, s := range cluster.Shards {
		if s.Target != "" {
			return false
		}
	}
	counts := c.owned()
	mean := float64(len(cluster.Shards)) / float64(len(c.nodes))
	for i := range c.nodes {
		if math.Abs(float64(counts[c.session(i)])-mean) > max(1, mean/10)+1 {
			return false
		}
	}
	return true
}
