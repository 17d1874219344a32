//go:build unix

package failpoint

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"
)

// protected is a load and failures that go wrong without a protection.
type protected struct {
	protection string
	call       func(*load, *job)
	// fails is the point at which nodes fail, again and again; empty for what
	// needs no failure. With stop they stop there, and go on when others have
	// taken over.
	fails string
	stop  bool
	// repeats is the part of the requests that arrive twice.
	repeats float64
	// groupSize and rows say how the load moves on, see load.
	groupSize, rows int
	// says is what the audit says without the protection.
	says string
}

const (
	twice = `has the entry .* [2-9] times`
	lost  = `where \d+ (was|were) acknowledged|lacks the entry`
)

var protections = []protected{
	{protection: noReplies, call: (*load).enterOnce, fails: "ack.before", says: twice},
	{protection: noKeys, call: (*load).enter, fails: "ack.before", says: twice},
	{protection: noOutbox, call: (*load).post, fails: "posted.after", says: lost},
	{protection: noInbox, call: (*load).noteUnderKey, fails: "handled.before", says: lost},
	{protection: noIntents, call: (*load).chain, fails: "intent-over.before", says: `took effect \[`},
	{protection: noAdvance, call: (*load).alarm, fails: "timer.after", says: twice},
	{protection: noAgenda, call: (*load).post, fails: "posted.after", says: lost},
	{protection: noFence, call: (*load).enter, fails: "commit.before", stop: true, groupSize: 100, rows: 16, says: lost},
	{protection: noWaiting, call: (*load).enter, fails: "reply.after", says: lost},
	{protection: noWatermark, call: (*load).enterOnce, says: `is forgotten`},
	{protection: noRecognised, call: (*load).enterLoosely, repeats: 0.5, says: twice},
}

// TestProtections takes each protection away and sees the audit complain. With
// -failpoint.controls it makes the same failures with all protections in place,
// too; TestEveryPoint shows that anyway.
func TestProtections(t *testing.T) {
	etcd := startEtcd(t)
	for _, p := range protections {
		t.Run(p.protection, func(t *testing.T) {
			t.Parallel()
			t.Run("without", func(t *testing.T) { p.without(t, etcd) })
			if *controls {
				t.Run("with", func(t *testing.T) { p.with(t, etcd) })
			}
		})
	}
}

// rounds is how often it is tried to do harm: not every failure does.
const rounds = 10

func (p protected) without(t *testing.T, etcd string) {
	c := p.cluster(t, etcd, p.protection)
	says := regexp.MustCompile(p.says)
	for round := range rounds {
		found := p.round(c, fmt.Sprint("round-", round), time.Second)
		if i := slices.IndexFunc(found, says.MatchString); i >= 0 {
			t.Logf("found in round %d: %s", round, found[i])
			return
		}
		t.Logf("round %d: %q", round, found[:min(3, len(found))])
	}
	t.Errorf("without the protection nothing was found that says %q", says)
}

func (p protected) with(t *testing.T, etcd string) {
	for _, complaint := range p.round(p.cluster(t, etcd, ""), "round", 20*time.Second) {
		t.Error(complaint)
	}
}

func (p protected) cluster(t *testing.T, etcd, without string) *cluster {
	s := settings{Cluster: fmt.Sprintf("%s-%t", p.protection, without == ""), Etcd: etcd, TTL: 5 * time.Second, Repeats: p.repeats, Without: without}
	if p.stop {
		s.TTL = 1500 * time.Millisecond
	}
	return startCluster(t, 2, s)
}

// round makes failures under load and returns what the audit finds.
func (p protected) round(c *cluster, name string, within time.Duration) []string {
	c.t.Helper()
	const callers, calls = 6, 200
	l := begin(c, name, callers, 0, cmp.Or(p.groupSize, 40), cmp.Or(p.rows, 2), []func(*load, *job){p.call})
	if at, known := pointNamed(p.fails); known {
		rnd, aims := choices(c.t), make([]aim, 2)
		for i := range aims {
			aims[i] = at.aim(rnd)
			aims[i].stop = p.stop
		}
		c.fail(newDeck(aims))
	}
	c.until("enough calls are made", func() bool { return l.next.Load() >= calls })
	l.end()
	return l.audit(within)
}
