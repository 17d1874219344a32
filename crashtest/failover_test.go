//go:build unix

package crashtest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/crashtest/internal/process"
	"github.com/cajun-go/cajun/guarantee"
)

// soon is how long the actors of a node that was killed may be away: far below
// the TTL, so that only an early burial keeps to it.
const (
	failoverTTL = 6 * time.Second
	soon        = time.Second
)

// TestFailover kills nodes of every role under load: whoever it is, others
// answer for its actors at once and not when its lease has expired.
func TestFailover(t *testing.T) {
	c := start(t, 5, failoverTTL)
	load := begin(c, 4, 100)
	nodes := []int{0, 1, 2, 3, 4} // those that live, the oldest first
	pick := func(leads bool) int {
		t.Helper()
		leader := c.caller.Cluster().Leader
		i := slices.IndexFunc(nodes, func(node int) bool { return (c.session(node) == leader) == leads })
		if i < 0 {
			t.Fatalf("none of the nodes %v is one that leads: %v", nodes, leads)
		}
		return nodes[i]
	}
	// Who leads after a leader is whoever stands for it first, so roles are looked up.
	for _, victim := range []struct {
		role string
		pick func() int
	}{
		{"the youngest", func() int { return nodes[len(nodes)-1] }},
		{"the leader", func() int { return pick(true) }},
		{"next in line", func() int { return pick(false) }},
		{"the leader who took over", func() int { return pick(true) }},
	} {
		node := victim.pick()
		nodes = slices.DeleteFunc(nodes, func(n int) bool { return n == node })
		first, all := c.failover(node)
		t.Logf("killed %s: first actor back after %v, all after %v", victim.role, first.Round(time.Millisecond), all.Round(time.Millisecond))
		if all > process.Limit(soon) {
			t.Errorf("killed %s: its actors were away for %v to %v", victim.role, first, all)
		}
		c.eventually("another leader", func() bool { l := c.caller.Cluster().Leader; return l != "" && c.isMember(l) })
	}
	load.end()
	load.undelivered(t, false)
	load.audit(t)
}

// failover kills a node and returns how long it took until the first and the
// last of some actors that lived there answered from elsewhere.
func (c *cluster) failover(victim int) (first, all time.Duration) {
	c.t.Helper()
	keys := c.place(victim, 10)
	began := time.Now()
	c.nodes[victim].Kill()
	return c.back(victim, keys, began)
}

// back returns how long after began it took until actors answered from another
// node than the one that they lived on.
func (c *cluster) back(from int, keys []string, began time.Time) (first, all time.Duration) {
	c.t.Helper()
	took := make([]time.Duration, len(keys))
	var calls sync.WaitGroup
	for i, key := range keys {
		calls.Go(func() {
			node, err := c.greet(c.t.Context(), guarantee.AtLeastOnce, key, "0")
			took[i] = time.Since(began)
			if err != nil || node == c.nodes[from].Name() {
				c.t.Errorf("%s answers from %q: %v", key, node, err)
			}
		})
	}
	calls.Wait()
	first, all = took[0], took[0]
	for _, d := range took {
		first, all = min(first, d), max(all, d)
	}
	return first, all
}
