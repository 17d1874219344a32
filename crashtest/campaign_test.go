//go:build unix

package crashtest

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestCampaign kills, stops and restarts nodes at random under load, and asks
// afterwards whether every call kept its promise.
func TestCampaign(t *testing.T) {
	const nodes, ttl = 4, 2 * time.Second
	length := 5 * time.Second
	if *long > 0 {
		length = *long
	}
	choices := *seed
	if choices == 0 {
		choices = rand.Uint64()
	}
	t.Logf("for the same choices: -crashtest.seed %d", choices)
	rnd := rand.New(rand.NewPCG(choices, 0))

	c := start(t, nodes, ttl)
	load := begin(c, 12, 60)
	for end := time.Now().Add(length); time.Now().Before(end) && !t.Failed(); {
		c.disturb(rnd)
		before := load.made()
		c.eventually("calls are answered again", func() bool { return load.made() > before+100 })
	}
	load.end()
	load.undelivered(t, false)
	load.audit(t)
}

// disturb does something bad to one or two nodes, and has all of them running
// again when it returns.
func (c *cluster) disturb(rnd *rand.Rand) {
	c.t.Helper()
	hit := rnd.Perm(len(c.nodes))[:1+rnd.IntN(2)]
	switch what := rnd.IntN(5); what {
	case 0: // stopped, for longer than the lease or not
		for _, i := range hit {
			c.nodes[i].Stop()
		}
		pause(time.Duration(rnd.Int64N(int64(3 * c.ttl / 2))))
		for _, i := range hit {
			c.nodes[i].Resume()
		}
		c.t.Logf("stopped %v for a while", hit)
		// One that has lost its session ends by itself, another goes on.
		for _, i := range hit {
			session := c.session(i)
			if gone := c.settled(i, session); gone {
				c.restart(i)
			}
		}
	default:
		for _, i := range hit {
			c.nodes[i].Kill()
		}
		if what == 1 { // restarted at once
			pause(time.Duration(rnd.Int64N(int64(500 * time.Millisecond))))
		}
		for _, i := range hit {
			c.restart(i)
		}
		c.t.Logf("killed %v", hit)
	}
}

// settled waits until a node that was stopped has either ended or shown that
// it lives, and reports whether it has ended.
func (c *cluster) settled(i int, session string) bool {
	c.t.Helper()
	if c.isMember(session) {
		// Its lease may have expired without the caller knowing yet. A renewal
		// takes a quarter of the TTL.
		pause(c.ttl / 2)
	}
	if c.isMember(session) {
		return false
	}
	c.nodes[i].Await("ended lost")
	c.nodes[i].Wait(c.t.Context())
	return true
}

// pause lets time pass, as the purpose of some tests is just that.
func pause(d time.Duration) { <-time.After(d) }
