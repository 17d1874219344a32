package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/cajunetcd"
	"github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun"
	cajun "github.com/cajun-go/cajun/runtime"
)

// demonstrate runs the whole show: nodes, greetings, a kill, and the check.
func demonstrate(ctx context.Context, s settings, etcd clientv3.Config) error {
	began := time.Now()
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	say("Starting %d node processes …", s.nodes)
	children, err := startChildren(ctx, s, etcd.Endpoints)
	if err != nil {
		return err
	}
	defer stopChildren(children)

	// This process takes part without hosting anything.
	node, err := cajun.Start(ctx, cajunetcd.With(etcd), cajun.WithCluster(s.cluster), cajun.WithName("caller"),
		cajun.WithLeaseTTL(s.leaseTTL), cajun.WithLogger(s.logger()), cajun.WithClientOnly())
	if err != nil {
		return err
	}
	defer node.Close()

	say("Greeting %d actors …", s.actors)
	load := newLoad(s, node)
	stopProgress := load.showProgress(ctx)
	load.run(ctx, s.calls/2)
	r := report{Nodes: hosts(node), Actors: s.actors, PlacementBefore: placement(node, s)}
	waitForKill := load.start(ctx, s.calls-s.calls/2)
	if len(children) > 0 {
		if err := load.killOne(children, &r, node); err != nil {
			return err
		}
	}
	waitForKill()
	stopProgress()
	if err := ctx.Err(); err != nil {
		return errors.New("interrupted")
	}

	say("Asking every actor what it remembers …")
	if err := load.audit(ctx, &r); err != nil {
		return err
	}
	r.Leader = leaderName(node)
	r.PlacementAfter = placement(node, s)
	r.Elapsed = time.Since(began).Milliseconds()
	if err := r.print(os.Stdout, s.json); err != nil {
		return err
	}
	return r.verdict()
}

// killOne ends the node with the most actors, as kill -9 does.
func (l *load) killOne(children []*child, r *report, node *cajun.Node) error {
	victim := slices.MaxFunc(children, func(a, b *child) int {
		return cmp.Compare(r.PlacementBefore[a.name], r.PlacementBefore[b.name])
	})
	l.expectMove(move{from: victim.name, actors: owned(node, l.settings, victim.name)})
	r.Killed = victim.name
	l.killed.Store(time.Now().UnixNano())
	return victim.kill()
}

// hosts returns how many live nodes host greeters.
func hosts(node *cajun.Node) int {
	n := 0
	for _, m := range node.Cluster().Members {
		if slices.Contains(m.Kinds, greeterv1cajun.GreeterKind) {
			n++
		}
	}
	return n
}

func leaderName(node *cajun.Node) string {
	c := node.Cluster()
	return names(c)[c.Leader]
}

// names maps sessions to the names of their nodes.
func names(c cajun.Cluster) map[string]string {
	m := make(map[string]string)
	for _, member := range c.Members {
		m[member.Session] = member.Name
	}
	return m
}

// placement counts the actors on each live node.
func placement(node *cajun.Node, s settings) map[string]int {
	c := node.Cluster()
	names := names(c)
	counts := make(map[string]int)
	for i := range s.actors {
		shard, ok := c.Owner(greeterv1cajun.NewGreeterPid(node, key(i)))
		if name := names[shard.Owner]; ok && name != "" {
			counts[name]++
		}
	}
	return counts
}

// owned returns which actors live on the node with this name.
func owned(node *cajun.Node, s settings, name string) map[int]bool {
	c := node.Cluster()
	names := names(c)
	set := make(map[int]bool)
	for i := range s.actors {
		if shard, ok := c.Owner(greeterv1cajun.NewGreeterPid(node, key(i))); ok && names[shard.Owner] == name {
			set[i] = true
		}
	}
	return set
}

// key names the i-th actor.
func key(i int) string { return fmt.Sprintf("greeter-%04d", i) }
