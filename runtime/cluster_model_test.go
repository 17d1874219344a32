package cajun_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

var (
	clusterSeed  = flag.Uint64("cluster.seed", 0, "run the cluster campaigns for this seed only, as a failure printed it")
	clusterSeeds = flag.Int("cluster.seeds", 3, "for how many new seeds the cluster campaigns run")
)

// seeds runs a campaign in a bubble for each seed.
func seeds(t *testing.T, campaign func(t *testing.T, rnd *rand.Rand)) {
	n := *clusterSeeds
	if *clusterSeed != 0 {
		n = 1
	}
	for range n {
		seed := *clusterSeed
		if seed == 0 {
			seed = rand.Uint64()
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("replay with -run %q -cluster.seed %d", t.Name(), seed)
				}
			}()
			bubble.Test(t, func(t *testing.T) { campaign(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

// model remembers what the callers of every single call were told. Each call
// leaves a label of its own in the state of its actor.
type model struct {
	t      *testing.T
	stage  *stage
	c      *cajuntest.Cluster
	actors int

	mu   sync.Mutex
	told map[string]map[string]verdict // by actor and label
}

type verdict struct {
	level   guarantee.Level
	outcome guarantee.Outcome
	err     error
}

// newModel starts a cluster of nodes that host, and a node that only calls,
// which has the highest number.
func newModel(t *testing.T, nodes int) *model {
	m := &model{t: t, stage: newStage(), c: cajuntest.Start(t, 0), actors: 12, told: make(map[string]map[string]verdict)}
	for range nodes {
		m.c.Add(m.stage.options())
	}
	m.c.Add(cajun.WithClientOnly())
	return m
}

// calls makes calls through a node, one after the other, until stop is closed.
// A node that was restarted is used again.
func (m *model) calls(rnd *rand.Rand, caller, through int, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rnd.IntN(40)) * time.Millisecond):
		}
		level := []guarantee.Level{guarantee.AtMostOnce, guarantee.AtLeastOnce, guarantee.ExactlyOnce}[rnd.IntN(3)]
		actor, label := fmt.Sprint("a", rnd.IntN(m.actors)), fmt.Sprint(caller, "-", n)
		patience := time.Minute
		if level == guarantee.AtMostOnce {
			patience = 2 * time.Second // its message or the answer may be lost for good
		}
		ctx, cancel := context.WithTimeout(m.t.Context(), patience)
		pid := probev1cajun.NewCounterPid(m.c.Node(through), actor)
		_, err := pid.Add(cajun.Deliver(ctx, level), &probev1.AddRequest{Amount: 1, Labels: map[string]int64{label: 1}})
		cancel()
		m.mu.Lock()
		if m.told[actor] == nil {
			m.told[actor] = make(map[string]verdict)
		}
		m.told[actor][label] = verdict{level, cajun.OutcomeOf(err), err}
		m.mu.Unlock()
	}
}

// check compares what callers were told with what is stored. The last node must
// be able to call.
func (m *model) check() {
	m.t.Helper()
	counts := make(map[string]int)
	for actor, calls := range m.told {
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
		stored, err := probev1cajun.NewCounterPid(m.c.Node(m.c.Size()-1), actor).AddSure(ctx, &probev1.AddRequest{})
		cancel()
		if err != nil {
			m.t.Errorf("%s cannot be read: %v", actor, err)
			continue
		}
		for label := range stored.GetByLabel() {
			if _, known := calls[label]; !known {
				m.t.Errorf("%s ran a call that nobody made: %s", actor, label)
			}
		}
		for label, v := range calls {
			ran := stored.GetByLabel()[label]
			switch {
			case v.err == nil && ran == 0:
				m.t.Errorf("%v call %s of %s was acknowledged and is lost", v.level, label, actor)
			case v.level != guarantee.AtLeastOnce && ran > 1:
				m.t.Errorf("%v call %s of %s took effect %d times; told %v", v.level, label, actor, ran, v.err)
			case v.err != nil && ran > 0 && (v.outcome == guarantee.NotExecuted || v.outcome == guarantee.NotCommitted):
				m.t.Errorf("%v call %s of %s took effect %d times; told %v: %v", v.level, label, actor, ran, v.outcome, v.err)
			}
			if v.err == nil {
				counts[fmt.Sprint(v.level, " done")]++
			} else {
				counts[fmt.Sprint(v.level, " ", v.outcome)]++
			}
		}
	}
	m.t.Logf("%v", counts)
}

// run lets callers call through the given nodes while disturb runs.
func (m *model) run(rnd *rand.Rand, through []int, disturb func()) {
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for caller, i := range through {
		own := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		callers.Go(func() { m.calls(own, caller, i, stop) })
	}
	disturb()
	close(stop)
	callers.Wait()
}

// during lets (fake) time pass.
func during(d time.Duration) { <-time.After(d) }

// anyFaults draws faults of the link.
func anyFaults(rnd *rand.Rand) link.Faults {
	return link.Faults{
		Seed: rnd.Uint64(), Loss: rnd.Float64() / 5, Duplicate: rnd.Float64() / 3, Reorder: rnd.Float64() / 3,
		Delay: time.Duration(rnd.IntN(100)) * time.Millisecond,
	}
}

// A link that loses, repeats, reorders and delays messages breaks no promise,
// and what may be repeated gets through.
func TestClusterWithABadLink(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		m := newModel(t, 3)
		m.run(rnd, []int{0, 0, 1, 1, 2, 2, 3, 3, 3, 3}, func() {
			for range 4 {
				m.c.Faults(anyFaults(rnd))
				during(2 * time.Second)
			}
			m.c.Faults(link.Faults{})
		})
		m.check()
		for actor, calls := range m.told {
			for label, v := range calls {
				if v.err != nil && v.level > guarantee.AtMostOnce && cajun.OutcomeOf(v.err) != guarantee.NotExecuted {
					t.Errorf("%v call %s of %s failed although nothing but the link was bad: %v", v.level, label, actor, v.err)
				}
			}
		}
	})
}

// Nodes that crash, hang, come, go and lose sight of each other break no
// promise.
func TestClusterCampaign(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		const nodes = 3
		m := newModel(t, nodes)
		m.run(rnd, []int{0, 1, 2, nodes, nodes}, func() {
			for range 5 {
				m.disturb(rnd, rnd.IntN(nodes), nodes)
				during(time.Duration(rnd.IntN(2000)) * time.Millisecond)
			}
		})
		m.check()
	})
}

// disturb does something bad to node i and mends it again.
func (m *model) disturb(rnd *rand.Rand, i, nodes int) {
	m.t.Helper()
	long := time.Duration(rnd.IntN(8000)) * time.Millisecond // more than the lease, or less
	short := time.Duration(rnd.IntN(500)) * time.Millisecond
	switch rnd.IntN(6) {
	case 0:
		m.t.Logf("kill %d for %v", i, short)
		m.c.Kill(i)
		during(short)
		m.c.Restart(i)
	case 1:
		m.t.Logf("kill %d for %v", i, long)
		m.c.Kill(i)
		during(long)
		m.c.Restart(i)
	case 2:
		m.t.Logf("pause %d for %v", i, long)
		m.c.Pause(i)
		during(long)
		m.c.Resume(i)
		during(2 * time.Second) // what has lost its session finds out
		select {
		case <-m.c.Node(i).Done():
			m.c.Restart(i)
		default:
		}
	case 3:
		other := (i + 1 + rnd.IntN(nodes)) % (nodes + 1)
		m.t.Logf("cut %d off from %d for %v", i, other, long)
		m.c.Partition(i, other)
		during(long)
		m.c.Heal()
	case 4:
		m.t.Logf("a bad link for %v", long)
		m.c.Faults(anyFaults(rnd))
		during(long)
		m.c.Faults(link.Faults{})
	case 5:
		m.t.Logf("drain %d", i)
		ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
		defer cancel()
		if err := m.c.Node(i).Drain(ctx); err != nil {
			m.t.Error("the drain failed:", err)
		}
		m.c.Restart(i)
	}
}
