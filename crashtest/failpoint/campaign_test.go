//go:build unix

package failpoint

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func choices(t testing.TB) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("for the same choices: -failpoint.seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

func (p point) aim(rnd *rand.Rand) aim { return aim{point: p.name, hit: 1 + rnd.IntN(p.within)} }

// TestEveryPoint makes nodes fail at every point once, under load.
func TestEveryPoint(t *testing.T) {
	rnd := choices(t)
	var aims []aim
	for _, i := range rnd.Perm(len(points)) {
		aims = append(aims, points[i].aim(rnd))
	}
	c := startCluster(t, 3, settings{Cluster: "every", Etcd: startEtcd(t), TTL: 5 * time.Second, Repeats: 0.02})
	l := begin(c, "every", 6, 3, 40, 2, everything)
	d := newDeck(aims)
	began := time.Now()
	c.fail(d)
	t.Logf("%d failures in %v: %v", len(d.log), time.Since(began), d)
	l.end()
	for _, w := range l.audit(20 * time.Second) {
		t.Error(w)
	}
	t.Logf("%d calls; audited after %v", l.next.Load(), time.Since(began))
	for _, p := range points {
		if d.done[p.name] == 0 {
			t.Errorf("no node has failed at %s", p.name)
		}
	}
}

// TestLongCampaign makes nodes fail at random points, for as long as its flags
// say.
func TestLongCampaign(t *testing.T) {
	if *kills == 0 {
		t.Skip("for a long campaign: -failpoint.kills 500 -timeout 0")
	}
	rnd := choices(t)
	chosen := points
	if *only != "" {
		chosen = nil
		for name := range strings.SplitSeq(*only, ",") {
			p, known := pointNamed(name)
			if !known {
				t.Fatalf("there is no point %q", name)
			}
			chosen = append(chosen, p)
		}
	}
	const inRound = 25
	c := startCluster(t, 3, settings{Cluster: "long", Etcd: startEtcd(t), TTL: 3 * time.Second, Repeats: 0.02, Without: *lacking})
	done, missed, calls := make(map[string]int), make(map[string]int), int64(0)
	for round, total := 0, 0; total < *kills && !t.Failed(); round++ {
		var aims []aim
		for range inRound {
			a := chosen[rnd.IntN(len(chosen))].aim(rnd)
			a.stop = rnd.IntN(20) == 0 && !strings.HasPrefix(a.point, "claim") && !strings.HasPrefix(a.point, "seal")
			aims = append(aims, a)
		}
		l := begin(c, fmt.Sprint("round-", round), 6, 3, 40, 2, everything)
		d := newDeck(aims)
		c.fail(d)
		l.end()
		for _, w := range l.audit(30 * time.Second) {
			t.Errorf("round %d: %s", round, w)
		}
		if t.Failed() {
			t.Logf("the failures of round %d: %v", round, d)
		}
		for name, n := range d.done {
			done[name] += n
			total += n
		}
		for name, n := range d.misses {
			missed[name] += n
		}
		calls += l.next.Load()
		t.Logf("round %d: %d failures so far, %d calls", round, total, calls)
	}
	for _, name := range slices.Sorted(maps.Keys(done)) {
		t.Logf("%-20s %d", name, done[name])
	}
	t.Logf("missed: %v", missed)
}
