package cajuntest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cajun-go/cajun/cajuntest"
	greeterv1 "github.com/cajun-go/cajun/examples/gen/greeter/v1"
	"github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/member"
	cajun "github.com/cajun-go/cajun/runtime"
)

// greeter counts.
type greeter struct {
	greeterv1cajun.UnimplementedGreeter
	state *greeterv1.GreeterState
}

func (g *greeter) Greet(context.Context, *greeterv1.GreetRequest) (*greeterv1.GreetResponse, error) {
	g.state.AtMostOnce++
	return &greeterv1.GreetResponse{Greetings: g.state.AtMostOnce}, nil
}

func host() cajun.Option {
	return greeterv1cajun.HostGreeter(func(_ *cajun.Self, s *greeterv1.GreeterState) (*greeter, error) {
		return &greeter{state: s}, nil
	})
}

// inBubble runs a test with a cluster of so many nodes, under fake time. That
// it returns says that nothing of the cluster is left: the bubble waits for
// every goroutine.
func inBubble(t *testing.T, nodes int, test func(t *testing.T, c *cajuntest.Cluster)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) { test(t, cajuntest.Start(t, nodes, host())) })
}

func greet(t *testing.T, c *cajuntest.Cluster, through int, key string, within time.Duration, level guarantee.Level) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := pid(c, through, key).Greet(cajun.Deliver(ctx, level), &greeterv1.GreetRequest{})
	return err
}

func pid(c *cajuntest.Cluster, through int, key string) greeterv1cajun.GreeterPid {
	return greeterv1cajun.NewGreeterPid(c.Node(through), key)
}

// keyOn returns an actor that lives on a node.
func keyOn(t *testing.T, c *cajuntest.Cluster, node int) string {
	t.Helper()
	for k := range 500 {
		key := fmt.Sprint("k", k)
		if err := greet(t, c, 0, key, time.Minute, guarantee.AtMostOnce); err != nil {
			t.Fatal(err)
		}
		if c.Owner(pid(c, 0, key)) == node {
			return key
		}
	}
	t.Fatalf("no actor lives on node %d", node)
	return ""
}

func members(c *cajuntest.Cluster, i int) int { return len(c.Node(i).Cluster().Members) }

func TestStartAndAdd(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *cajuntest.Cluster) {
		for i := range 3 {
			if members(c, i) != 3 {
				t.Errorf("node %d sees %d members when Start returns", i, members(c, i))
			}
		}
		if i := c.Add(); i != 3 || c.Size() != 4 {
			t.Errorf("Add made node %d of %d", i, c.Size())
		}
		for i := range 4 {
			if members(c, i) != 4 {
				t.Errorf("node %d sees %d members when Add returns", i, members(c, i))
			}
		}
	})
}

func TestOwner(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *cajuntest.Cluster) {
		if got := c.Owner(pid(c, 0, "nobody")); got != -1 {
			t.Errorf("an actor that was never called lives on node %d", got)
		}
		for i := range 3 {
			keyOn(t, c, i)
		}
	})
}

func TestKillAndRestart(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *cajuntest.Cluster) {
		key := keyOn(t, c, 1)
		before := c.Node(1)
		began := time.Now()
		c.Kill(1)
		if c.Node(1) != before || c.Owner(pid(c, 0, key)) == 1 {
			t.Error("a killed node owns actors, or is not the one that was killed")
		}
		if err := greet(t, c, 0, key, time.Minute, guarantee.AtLeastOnce); err != nil {
			t.Error("nobody takes over:", err)
		}
		if took := time.Since(began); took > member.DefaultTTL/2 {
			t.Errorf("taken over after %v: connections to a killed node are refused, so nobody waits for its lease", took)
		}
		c.Restart(1)
		if c.Node(1) == before || c.Node(1).ID() == before.ID() {
			t.Error("Restart brought the dead back")
		}
		if members(c, 0) != 3 {
			t.Errorf("%d members when Restart returns", members(c, 0))
		}
	})
}

// A paused node is not refused, only silent: others wait for its lease, and it
// is suspended and then lost.
func TestPauseAndResume(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *cajuntest.Cluster) {
		key := keyOn(t, c, 1)
		c.Pause(1)
		if err := greet(t, c, 0, key, time.Second, guarantee.AtLeastOnce); err == nil {
			t.Error("a paused node answered")
		}
		c.Resume(1)
		if err := greet(t, c, 0, key, time.Minute, guarantee.AtLeastOnce); err != nil || c.Owner(pid(c, 0, key)) != 1 {
			t.Error("it does not go on after a short pause:", err)
		}
		paused := c.Node(1)
		began := time.Now()
		c.Pause(1)
		if err := greet(t, c, 0, key, time.Minute, guarantee.AtLeastOnce); err != nil {
			t.Error("nobody takes over:", err)
		}
		if took := time.Since(began); took < member.DefaultTTL/2 {
			t.Errorf("taken over after %v, and it was not dead", took)
		}
		if paused.Ready() == nil {
			t.Error("a paused node takes itself for alive after its lease")
		}
		c.Resume(1)
		<-paused.Done()
		if paused.Err() == nil {
			t.Error("it does not say that it lost its session")
		}
		c.Restart(1)
	})
}

func TestPartitionAndHeal(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, c *cajuntest.Cluster) {
		key := keyOn(t, c, 1)
		c.Partition(0, 1)
		if err := greet(t, c, 0, key, 10*time.Second, guarantee.AtMostOnce); err == nil {
			t.Error("a call went through a partition")
		}
		if err := greet(t, c, 2, key, time.Second, guarantee.AtMostOnce); err != nil {
			t.Error("a third node is cut off too:", err)
		}
		if members(c, 0) != 3 || members(c, 2) != 3 {
			t.Error("somebody was declared dead who reaches the store")
		}
		c.Heal()
		if err := greet(t, c, 0, key, time.Minute, guarantee.AtLeastOnce); err != nil {
			t.Error("after Heal:", err)
		}
	})
}

func TestFaults(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, c *cajuntest.Cluster) {
		key := keyOn(t, c, 1)
		c.Faults(link.Faults{Loss: 1})
		if err := greet(t, c, 0, key, time.Second, guarantee.AtLeastOnce); err == nil {
			t.Error("a call went through a link that loses everything")
		}
		c.Faults(link.Faults{Delay: 100 * time.Millisecond, Seed: 1})
		began := time.Now()
		if err := greet(t, c, 0, key, time.Minute, guarantee.AtLeastOnce); err != nil || time.Since(began) == 0 {
			t.Errorf("with a delay: %v after %v", err, time.Since(began))
		}
		c.Faults(link.Faults{})
		began = time.Now()
		if err := greet(t, c, 0, key, time.Minute, guarantee.AtMostOnce); err != nil || time.Since(began) > 0 {
			t.Errorf("without faults: %v after %v", err, time.Since(began))
		}
	})
}

// Nothing is left of a cluster whose nodes were killed, paused and cut off
// when its test ended.
func TestNothingIsLeft(t *testing.T) {
	inBubble(t, 4, func(t *testing.T, c *cajuntest.Cluster) {
		keyOn(t, c, 1)
		c.Kill(1)
		c.Pause(2)
		c.Partition(0, 3)
		c.Faults(link.Faults{Delay: time.Second})
		_ = greet(t, c, 0, "x", 100*time.Millisecond, guarantee.AtMostOnce)
	})
}

// A start that fails leaves nothing running either.
func TestFailedStartLeavesNothing(t *testing.T) {
	boom := cajun.WithService(func(*cajun.Node) (cajun.Service, error) { return nil, context.Canceled })
	bubble.Test(t, func(t *testing.T) {
		failing := &recorder{TB: t}
		if failing.run(func() { cajuntest.Start(failing, 2, host(), boom) }) == "" {
			t.Error("Start did not fail the test")
		}
		failing.cleanup()
	})
}

func TestStartRefusesNegativeSizes(t *testing.T) {
	failing := &recorder{TB: t}
	if got := failing.run(func() { cajuntest.Start(failing, -1, host()) }); !strings.Contains(got, "give none") {
		t.Errorf("a cluster of -1 nodes: %q", got)
	}
}

// Owner is -1 before an actor's first call, which is where tests stumble.
func TestNodesThatAreNone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		failing := &recorder{TB: t}
		c := cajuntest.Start(failing, 1, host())
		defer failing.cleanup()
		nobody := c.Owner(greeterv1cajun.NewGreeterPid(c.Client(), "alice"))
		for what, use := range map[string]func(i int){"Kill": c.Kill, "Node": func(i int) { c.Node(i) }} {
			if got := failing.run(func() { use(nobody) }); !strings.Contains(got, "no node holds it now: call the actor first, or name a node") {
				t.Errorf("%s of the owner of an actor that was never called: %q", what, got)
			}
			if got := failing.run(func() { use(1) }); !strings.Contains(got, "nodes 0 to 0") {
				t.Errorf("%s(1): %q", what, got)
			}
		}
	})
}

// recorder is a test that takes note of its failure.
type recorder struct {
	testing.TB
	failure  string
	cleanups []func()
}

// run returns how f fails the test, or nothing if it does not.
func (r *recorder) run(f func()) string {
	r.failure = ""
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(r) {
				panic(p)
			}
		}()
		f()
	}()
	return r.failure
}

// cleanup does what the end of a test does.
func (r *recorder) cleanup() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	panic(r)
}
