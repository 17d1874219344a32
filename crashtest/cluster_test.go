//go:build unix

package crashtest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/cajunetcd"
	"github.com/cajun-go/cajun/crashtest/internal/process"
	greeterv1 "github.com/cajun-go/cajun/examples/gen/greeter/v1"
	"github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/metadata/embedetcd"
	cajun "github.com/cajun-go/cajun/runtime"
)

// callTimeout is long enough for every call that may be repeated to outlive
// whatever a test does to its nodes.
const callTimeout = 30 * time.Second

// cluster is node processes and a node in this process that calls them.
type cluster struct {
	t      testing.TB
	etcd   []string
	ttl    time.Duration
	caller *cajun.Node
	nodes  []*process.Process
}

// start starts an etcd in this process, and a cluster of n nodes one after the
// other, so that they are as old as their numbers say and the first one leads.
func start(t testing.TB, n int, ttl time.Duration) *cluster {
	t.Helper()
	server, err := embedetcd.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return startOn(t, server.Config().Endpoints, n, ttl)
}

// startOn is start on an etcd that runs already.
func startOn(t testing.TB, etcd []string, n int, ttl time.Duration) *cluster {
	t.Helper()
	c := &cluster{t: t, etcd: etcd, ttl: ttl}
	for range n {
		c.add()
	}
	c.caller = c.call()
	c.eventually("the caller sees the nodes", func() bool { return len(c.caller.Cluster().Members) == n+1 && c.caller.Cluster().Leader != "" })
	return c
}

// call starts a node in this process that only calls.
func (c *cluster) call() *cajun.Node {
	c.t.Helper()
	node, err := cajun.Start(c.t.Context(), cajunetcd.With(clientv3.Config{Endpoints: c.etcd}), cajun.WithCluster("crash"),
		cajun.WithName("caller"), cajun.WithLeaseTTL(c.ttl), cajun.WithClientOnly(),
		cajun.WithLogger(slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { node.Close() })
	return node
}

func nodeName(i int) string { return fmt.Sprint("node-", i) }

func (c *cluster) settings(i int) settings {
	return settings{Name: nodeName(i), Cluster: "crash", Etcd: c.etcd, TTL: c.ttl}
}

// add starts one more node and returns its number.
func (c *cluster) add() int {
	c.t.Helper()
	i := len(c.nodes)
	c.nodes = append(c.nodes, process.Spawn(c.t, roleNode, nodeName(i), c.settings(i)))
	return i
}

// restart starts a node anew that has ended.
func (c *cluster) restart(i int) {
	c.t.Helper()
	c.nodes[i] = process.Spawn(c.t, roleNode, nodeName(i), c.settings(i))
}

// session returns the session of a node.
func (c *cluster) session(i int) string { c.t.Helper(); return c.nodes[i].Ready() }

func (c *cluster) pid(key string) greeterv1cajun.GreeterPid {
	return greeterv1cajun.NewGreeterPid(c.caller, key)
}

// greet makes one call that adds a mark.
func (c *cluster) greet(ctx context.Context, l guarantee.Level, key, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := c.pid(key).Greet(cajun.Deliver(ctx, l), &greeterv1.GreetRequest{Name: name})
	return reply.GetNode(), err
}

// tally reads an actor, however long it takes to find.
func (c *cluster) tally(key string) *greeterv1.TallyResponse {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), callTimeout)
	defer cancel()
	reply, err := c.pid(key).Tally(cajun.Deliver(ctx, guarantee.AtLeastOnce), &greeterv1.TallyRequest{})
	if err != nil {
		c.t.Fatalf("%s cannot be read: %v", key, err)
	}
	return reply
}

// place makes actors and returns the keys of n of them that live on node i.
func (c *cluster) place(i, n int) []string {
	c.t.Helper()
	var keys []string
	for k := 0; len(keys) < n; k++ {
		if k == 200*n {
			c.t.Fatalf("node %d gets no actors", i)
		}
		key := fmt.Sprintf("placed-%d-%d", i, k)
		node, err := c.greet(c.t.Context(), guarantee.AtMostOnce, key, "0")
		if err != nil {
			c.t.Fatal(err)
		}
		if node == c.nodes[i].Name() {
			keys = append(keys, key)
		}
	}
	return keys
}

// isMember reports whether the caller takes a session for alive.
func (c *cluster) isMember(session string) bool {
	for _, m := range c.caller.Cluster().Members {
		if m.Session == session {
			return true
		}
	}
	return false
}

// eventually polls until the condition holds, and returns how long that took.
func (c *cluster) eventually(what string, holds func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	limit := time.NewTimer(process.Limit(30 * time.Second))
	defer limit.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			c.t.Fatalf("never: %s", what)
		}
	}
	return time.Since(began)
}
