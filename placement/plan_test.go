package placement

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func nodes(n int) []Candidate {
	cs := make([]Candidate, n)
	for i := range cs {
		cs[i].Session = fmt.Sprintf("session-%03d", i)
	}
	return cs
}

func loadsOf(owners []string) map[string]int {
	loads := make(map[string]int)
	for _, o := range owners {
		loads[o]++
	}
	return loads
}

// moves counts the shards whose owner changed, by their former owner.
func moves(before, after []string) map[string]int {
	moved := make(map[string]int)
	for n := range before {
		if before[n] != after[n] {
			moved[before[n]]++
		}
	}
	return moved
}

func total(m map[string]int) int {
	sum := 0
	for _, n := range m {
		sum += n
	}
	return sum
}

// checkBounds fails unless every load of the owners that count is within 10 %
// or one shard of the weighted mean.
func checkBounds(t *testing.T, owners []string, cs []Candidate) {
	t.Helper()
	loads := loadsOf(owners)
	delete(loads, "")
	claimed := total(loads)
	sum := 0.0
	for _, c := range cs {
		if !c.Draining {
			sum += weight(c)
		}
	}
	for _, c := range cs {
		if c.Draining {
			if loads[c.Session] != 0 {
				t.Errorf("%s drains and has %d shards", c.Session, loads[c.Session])
			}
			delete(loads, c.Session)
			continue
		}
		mean := float64(claimed) * weight(c) / sum
		if off := math.Abs(float64(loads[c.Session]) - mean); off > max(mean*Slack, 1)+1e-9 {
			t.Errorf("%s has %d shards, and its share is %.2f", c.Session, loads[c.Session], mean)
		}
		delete(loads, c.Session)
	}
	if len(loads) > 0 {
		t.Errorf("shards for sessions that are no candidates: %v", loads)
	}
}

func TestPlanDistributesFreeShards(t *testing.T) {
	for _, tc := range []struct{ shards, nodes int }{
		{1024, 1}, {1024, 3}, {1024, 10}, {1024, 100}, {1, 3}, {2, 3}, {3, 3}, {7, 10}, {64, 3}, {1000, 999},
	} {
		t.Run(fmt.Sprintf("%d shards on %d nodes", tc.shards, tc.nodes), func(t *testing.T) {
			plan := Plan("kind", make([]string, tc.shards), nodes(tc.nodes))
			checkBounds(t, plan, nodes(tc.nodes))
			if again := Plan("kind", plan, nodes(tc.nodes)); total(moves(plan, again)) != 0 {
				t.Errorf("a plan that was carried out moves %d shards", total(moves(plan, again)))
			}
		})
	}
}

func TestPlanFollowsWeights(t *testing.T) {
	cs := nodes(10)
	for i := range cs {
		cs[i].Weight = float64(1 + i%4)
	}
	plan := Plan("kind", make([]string, 1024), cs)
	checkBounds(t, plan, cs)

	cs[0].Weight = 8
	heavier := Plan("kind", plan, cs)
	checkBounds(t, heavier, cs)
	// Node 0 has a share of 274 now, and nobody else gains: all moves are to it.
	for n := range plan {
		if plan[n] != heavier[n] && heavier[n] != cs[0].Session {
			t.Fatalf("shard %d went to %s, and only %s is short of shards", n, heavier[n], cs[0].Session)
		}
	}
}

// A joining node gets its share rounded down, and no other shard moves. That is
// the least number of moves with which a joining node has its share.
func TestPlanJoinMovesTheShareOnly(t *testing.T) {
	for _, tc := range []struct {
		nodes  int
		weight float64
		want   int
	}{
		{1, 1, 512}, {3, 1, 256}, {10, 1, 93}, {100, 1, 10}, {3, 2, 409}, {10, 0.5, 48},
	} {
		t.Run(fmt.Sprintf("%d nodes, joiner weighs %v", tc.nodes, tc.weight), func(t *testing.T) {
			cs := nodes(tc.nodes)
			before := Plan("kind", make([]string, 1024), cs)
			joiner := Candidate{Session: "joiner", Weight: tc.weight}
			cs = append(cs, joiner)
			after := Plan("kind", before, cs)
			checkBounds(t, after, cs)
			if got := total(moves(before, after)); got != tc.want {
				t.Errorf("%d shards moved, want %d", got, tc.want)
			}
			if got := loadsOf(after)["joiner"]; got != tc.want {
				t.Errorf("the joining node got %d shards, want %d", got, tc.want)
			}
			was, is := loadsOf(before), loadsOf(after)
			share := 1024 / (float64(tc.nodes) + tc.weight)
			for from := range moves(before, after) {
				if float64(was[from]) <= share || float64(is[from]) < math.Floor(share) {
					t.Errorf("%s had %d shards and has %d, and its share is %.1f", from, was[from], is[from], share)
				}
			}
		})
	}
}

// A joining node gets shards that rank it high: most of those that it is the
// first for.
func TestPlanJoinTakesTheShardsThatRankItBest(t *testing.T) {
	cs := nodes(9)
	before := Plan("kind", make([]string, 1024), cs)
	cs = append(cs, Candidate{Session: "joiner"})
	after := Plan("kind", before, cs)
	got, first := 0, 0
	for n := range after {
		if Order("kind", uint32(n), cs)[0] == "joiner" {
			first++
			if after[n] == "joiner" {
				got++
			}
		}
	}
	if got < first*3/4 {
		t.Errorf("the joining node got %d of the %d shards that rank it first", got, first)
	}
}

// When a node leaves or drains, exactly its shards move: the least there is.
func TestPlanLeaveMovesItsShardsOnly(t *testing.T) {
	for _, n := range []int{2, 3, 10, 100} {
		for _, drains := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d nodes, drains=%v", n, drains), func(t *testing.T) {
				cs := nodes(n)
				before := Plan("kind", make([]string, 1024), cs)
				leaver := cs[n/2].Session
				if drains {
					cs[n/2].Draining = true
				} else {
					cs = slices.Delete(cs, n/2, n/2+1)
				}
				after := Plan("kind", before, cs)
				checkBounds(t, after, cs)
				moved := moves(before, after)
				if want := loadsOf(before)[leaver]; moved[leaver] != want || total(moved) != want {
					t.Errorf("moved %v, want only the %d shards of %s", moved, want, leaver)
				}
			})
		}
	}
}

// A node that restarts is a new session. It gets the shards of its old session,
// and nobody else loses any.
func TestPlanRestartMovesNothingElse(t *testing.T) {
	for _, n := range []int{3, 10, 100} {
		cs := nodes(n)
		before := Plan("kind", make([]string, 1024), cs)
		old := cs[1].Session
		cs[1].Session = "restarted"
		after := Plan("kind", before, cs)
		checkBounds(t, after, cs)
		moved := moves(before, after)
		if total(moved) != loadsOf(before)[old] || moved[old] != total(moved) {
			t.Errorf("%d nodes: moved %v, want only the shards of %s", n, moved, old)
		}
	}
}

// Shards that were never claimed do not count as load: a joining node gets its
// share of those that are in use.
func TestPlanBalancesClaimedShards(t *testing.T) {
	cs := nodes(3)
	owners := make([]string, 1024)
	for n, o := range Plan("kind", make([]string, 600), cs) {
		owners[n] = o
	}
	plan := Plan("kind", owners, cs)
	checkBounds(t, plan, cs)
	if moved := moves(owners, plan); moved[""] != 424 || total(moved) != 424 {
		t.Errorf("moved %v, want only the 424 free shards", moved)
	}

	cs = append(cs, Candidate{Session: "joiner"})
	plan = Plan("kind", owners, cs)
	checkBounds(t, plan, cs)
	checkBounds(t, plan[:600], cs)
	if moved := moves(owners, plan); total(moved)-moved[""] != 150 {
		t.Errorf("%d claimed shards moved, want the joining node's share of 150", total(moved)-moved[""])
	}
}

func TestPlanFewShards(t *testing.T) {
	cs := nodes(3)
	a, b, c := cs[0].Session, cs[1].Session, cs[2].Session
	for _, tc := range []struct {
		name   string
		owners []string
		loads  []int // of a, b, c
		moves  int
	}{
		{"one shard stays", []string{b}, []int{0, 1, 0}, 0},
		{"two shards on one node: one is to spare", []string{a, a}, []int{1, 0, 1}, 1},
		{"two shards on two nodes", []string{a, b}, []int{1, 1, 0}, 0},
		{"three on one: a share is one", []string{a, a, a}, []int{1, 1, 1}, 2},
		{"four, nobody without", []string{a, a, b, c}, []int{2, 1, 1}, 0},
		{"six within one", []string{a, a, a, b, b, c}, []int{3, 2, 1}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			after := Plan("kind", tc.owners, cs)
			got := loadsOf(after)
			loads := []int{got[a], got[b], got[c]}
			slices.Sort(loads)
			slices.Sort(tc.loads)
			if !slices.Equal(loads, tc.loads) || total(moves(tc.owners, after)) != tc.moves {
				t.Errorf("loads %v with %d moves, want %v with %d", loads, total(moves(tc.owners, after)), tc.loads, tc.moves)
			}
		})
	}
}

func TestPlanWithoutCandidates(t *testing.T) {
	draining := nodes(1)
	draining[0].Draining = true
	for _, cs := range [][]Candidate{nil, draining} {
		if got := Plan("kind", []string{"session-000", Orphan, ""}, cs); !slices.Equal(got, []string{"", "", ""}) {
			t.Errorf("Plan = %q, want no owners", got)
		}
	}
}

// leastMoves is a lower bound on the claimed shards with a live owner that any
// plan has to move: what is above its bounds must go, and what is below must
// get what orphans cannot give.
func leastMoves(owners []string, cs []Candidate) int {
	p := newPlanner("kind", len(owners), cs)
	orphans, claimed, index := 0, 0, p.index()
	for _, o := range owners {
		if i, ok := index[o]; ok {
			p.nodes[i].load++
			claimed++
		} else if o != "" {
			orphans++
			claimed++
		}
	}
	p.setShares(claimed, len(owners)-claimed)
	over, under := 0, 0
	for _, n := range p.nodes {
		over += max(0, n.load-n.high)
		under += max(0, n.low-n.load)
	}
	return max(over, under-orphans)
}

// From any state whatever, one plan leads into the bounds and the next one has
// nothing to do; the order of the candidates does not matter; and moves beyond
// the least possible only fill a share that was below its bounds.
func TestPlanProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		cs := nodes(1 + rng.IntN(12))
		for i := range cs {
			cs[i].Weight = []float64{0, 1, 1, 1, 0.1, 2.5}[rng.IntN(6)]
			cs[i].Draining = i > 0 && rng.IntN(8) == 0
		}
		owners := make([]string, 1+rng.IntN(200))
		free := rng.IntN(2) == 0
		for n := range owners {
			switch rng.IntN(6) {
			case 0:
				owners[n] = Orphan
			case 1:
				if free {
					owners[n] = ""
					break
				}
				fallthrough
			default:
				owners[n] = cs[int(float64(len(cs))*rng.Float64()*rng.Float64())].Session
			}
		}
		plan := Plan("kind", owners, cs)
		var claimed, was []string
		for n := range owners {
			if owners[n] != "" {
				claimed, was = append(claimed, plan[n]), append(was, owners[n])
			}
		}
		if len(claimed) == len(owners) {
			checkBounds(t, claimed, cs)
		}

		shuffled := slices.Clone(cs)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if !slices.Equal(plan, Plan("kind", owners, shuffled)) {
			t.Fatal("the plan depends on the order of the candidates")
		}
		carried := slices.Clone(owners)
		for n := range carried {
			if carried[n] != "" {
				carried[n] = plan[n]
			}
		}
		if again := moves(carried, Plan("kind", carried, cs)); total(again) != again[""] {
			t.Fatalf("a plan that was carried out moves %v", again)
		}
		moved := 0
		gained := maps.Clone(loadsOf(claimed))
		for _, c := range cs {
			if !c.Draining {
				moved += moves(was, claimed)[c.Session]
				gained[c.Session] -= loadsOf(was)[c.Session]
			}
		}
		if least := leastMoves(owners, cs); moved < least || (least == 0 && moved > 0) {
			t.Fatalf("%d moves, and %d are needed", moved, least)
		}
		if t.Failed() {
			t.Fatalf("owners %q candidates %+v", owners, cs)
		}
	}
}

// Shards that are claimed one by one, each by the node that a plan wants for it,
// lead to (almost) no moves, although the loads of those in use vary.
func TestPlanLeavesChanceAlone(t *testing.T) {
	for _, n := range []int{2, 3, 10, 100} {
		cs := nodes(n)
		wanted := Plan("kind", make([]string, 1024), cs)
		owners := make([]string, 1024)
		unneeded := 0
		for claimed, shard := range rand.New(rand.NewPCG(3, 4)).Perm(1024) {
			owners[shard] = wanted[shard]
			if claimed%8 == 0 || claimed > 1000 {
				moved := moves(owners, Plan("kind", owners, cs))
				unneeded += total(moved) - moved[""]
			}
		}
		if unneeded > n/10 {
			t.Errorf("%d nodes: first uses led to %d moves", n, unneeded)
		}
	}
}

// A node that joins while a part of the shards is in use gets its share of that
// part, as soon as chance does not explain that it has none.
func TestPlanJoinWhileShardsAreFree(t *testing.T) {
	for claimed, want := range map[int]int{3: 0, 20: 0, 28: 7, 40: 10, 100: 25, 1000: 250} {
		cs := nodes(3)
		owners := make([]string, 1024)
		copy(owners, Plan("kind", make([]string, 1024), cs)[:claimed])
		plan := Plan("kind", owners, append(cs, Candidate{Session: "joiner"}))
		if got := loadsOf(plan[:claimed])["joiner"]; got != want {
			t.Errorf("%d shards in use: the joining node got %d, want %d", claimed, got, want)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{3, 100} {
		cs := nodes(n)
		free := make([]string, 1024)
		settled := Plan("kind", free, cs)
		weighted := slices.Clone(cs)
		weighted[0].Weight = 2
		joined := append(slices.Clone(cs), Candidate{Session: "joiner"})
		for _, bc := range []struct {
			name   string
			owners []string
			cs     []Candidate
		}{
			{"settled", settled, cs}, {"free", free, cs}, {"free with weights", free, weighted}, {"join", settled, joined}, {"leave", settled, cs[1:]},
			{"from one to all", Plan("kind", free, cs[:1]), cs},
		} {
			b.Run(fmt.Sprintf("%s/%d", bc.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Plan("kind", bc.owners, bc.cs)
				}
			})
		}
	}
}
