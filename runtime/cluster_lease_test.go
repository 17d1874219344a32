package cajun_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/cajuntest"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/member"
	cajun "github.com/cajun-go/cajun/runtime"
	probev1 "github.com/cajun-go/cajun/runtime/internal/gen/probe/v1"
	"github.com/cajun-go/cajun/runtime/internal/gen/probe/v1/probev1cajun"
)

// An owner that hangs for longer than its lease serves nothing from then on:
// not what is in a handler, not what waits behind it, not its local callers.
func TestClusterPausedOwner(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStage()
		c := cajuntest.Start(t, 3, s.options())
		open := make(chan struct{})
		entered := make(chan struct{}, 8)
		s.on("hold", func(context.Context, *cajun.Self) error { entered <- struct{}{}; <-open; return nil })
		ctx := t.Context()
		counterKey := clusterKey(t, c, 1, "key", func(key string) cajun.Target { return probev1cajun.NewCounterPid(c.Node(0), key) })
		echoKey := clusterKey(t, c, 1, "key", func(key string) cajun.Target { return probev1cajun.NewEchoPid(c.Node(0), key) })
		idleKey := clusterKey(t, c, 1, "idle", func(key string) cajun.Target { return probev1cajun.NewEchoPid(c.Node(0), key) })
		otherKey := clusterKey(t, c, 1, "other", func(key string) cajun.Target { return probev1cajun.NewCounterPid(c.Node(0), key) })
		paused := c.Node(1)
		localCounter, localEcho := probev1cajun.NewCounterPid(paused, counterKey), probev1cajun.NewEchoPid(paused, echoKey)
		short := func() context.Context {
			bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
			t.Cleanup(cancel)
			return bounded
		}

		type result struct {
			what string
			err  error
		}
		results := make(chan result, 8)
		call := func(what string, f func() error) { go func() { results <- result{what, f()} }() }
		call("the local call in the counter's handler", func() error {
			_, err := localCounter.Add(short(), &probev1.AddRequest{Amount: 1, Script: "hold"})
			return err
		})
		call("the local call in the echo's handler", func() error {
			_, err := localEcho.Echo(short(), &probev1.EchoRequest{Text: "hold"})
			return err
		})
		<-entered
		<-entered
		call("the local call in the mailbox", func() error {
			_, err := localCounter.Add(short(), &probev1.AddRequest{Amount: 16})
			return err
		})
		synctest.Wait()
		ran := func() int { return s.runsOf(counterKey) + s.runsOf(echoKey) + s.runsOf(idleKey) }
		runs := ran()

		c.Pause(1)
		during(member.DefaultTTL)
		if err := paused.Ready(); !errors.Is(err, member.ErrSuspended) {
			t.Fatalf("past its lease the node says %v", err)
		}
		close(open)
		call("a fresh local call of an idle actor", func() error {
			_, err := probev1cajun.NewEchoPid(paused, idleKey).Echo(short(), &probev1.EchoRequest{})
			return err
		})
		call("a fresh local call of a busy one", func() error {
			_, err := localEcho.Echo(short(), &probev1.EchoRequest{Text: "x"})
			return err
		})
		during(5 * time.Second)
		select {
		case r := <-results:
			if r.err == nil {
				t.Errorf("%s was answered by a node whose lease is over", r.what)
			}
		default:
		}
		if got := ran(); got != runs {
			t.Errorf("%d handlers ran after the lease", got-runs)
		}
		// Meanwhile others serve. The counter in whose handler a call is stays
		// untouched, so that only the fence keeps the former owner's commit out.
		if r, err := probev1cajun.NewCounterPid(c.Node(0), otherKey).AddOnce(short(), &probev1.AddRequest{Amount: 256}); err != nil || r.GetSum() != 256 {
			t.Errorf("the new owner says %v, %v", r, err)
		}
		c.Resume(1)
		<-paused.Done()
		if err := paused.Err(); !errors.Is(err, member.ErrLost) {
			t.Errorf("the node that woke ended with %v", err)
		}
		during(30 * time.Second) // beyond every deadline
		for range 3 {
			if r := <-results; r.what == "the local call in the counter's handler" && r.err == nil {
				t.Errorf("%s was answered", r.what)
			}
		}
		r, err := probev1cajun.NewCounterPid(c.Node(0), counterKey).Get(short(), &probev1.GetRequest{})
		if err != nil || r.GetSum()&1 != 0 {
			t.Errorf("the former owner committed: %v, %v", r, err)
		}
	})
}

// clusterKey returns an actor that lives on a node.
func clusterKey(t *testing.T, c *cajuntest.Cluster, owner int, name string, pid func(key string) cajun.Target) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for k := range 500 {
		key := fmt.Sprint(name, k)
		target := pid(key)
		var err error
		switch p := target.(type) {
		case probev1cajun.CounterPid:
			_, err = p.Get(ctx, &probev1.GetRequest{})
		case probev1cajun.EchoPid:
			_, err = p.Echo(ctx, &probev1.EchoRequest{})
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.Owner(target) == owner {
			return key
		}
	}
	t.Fatalf("no actor lives on node %d", owner)
	return ""
}

// Two nodes that cannot reach each other and still reach the store: nobody is
// declared dead, nothing moves, and each serves whoever reaches it.
func TestClusterPartition(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStage()
		c := cajuntest.Start(t, 3, s.options())
		key := clusterKey(t, c, 1, "key", func(key string) cajun.Target { return probev1cajun.NewCounterPid(c.Node(0), key) })
		add := func(through int, limit time.Duration, level guarantee.Level) error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := probev1cajun.NewCounterPid(c.Node(through), key).Add(cajun.Deliver(ctx, level), &probev1.AddRequest{Amount: 1})
			return err
		}
		synctest.Wait() // node 2 knows the owner, and the links have settled
		before, _ := c.Node(2).Cluster().Owner(probev1cajun.NewCounterPid(c.Node(2), key))
		c.Partition(0, 1)
		crossing := make(chan error, 1)
		go func() { crossing <- add(0, 10*time.Minute, guarantee.ExactlyOnce) }()
		wantOutcome(t, add(0, 20*time.Second, guarantee.AtMostOnce), guarantee.MaybeExecuted)
		if err := errors.Join(add(1, time.Second, guarantee.AtMostOnce), add(2, time.Second, guarantee.AtMostOnce)); err != nil {
			t.Error("who reaches the owner is not served:", err)
		}
		during(time.Minute)
		after, _ := c.Node(2).Cluster().Owner(probev1cajun.NewCounterPid(c.Node(2), key))
		if before != after || len(c.Node(2).Cluster().Members) != 3 {
			t.Errorf("the actor moved from %+v to %+v", before, after)
		}
		c.Heal()
		if err := <-crossing; err != nil {
			t.Error("the call that waited for the end of the partition:", err)
		}
		if r, err := probev1cajun.NewCounterPid(c.Node(0), key).Get(t.Context(), &probev1.GetRequest{}); err != nil || r.GetSum() != 3 {
			t.Errorf("%v, %v: want what three callers added", r, err)
		}
	})
}
