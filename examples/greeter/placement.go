package main

import (
	"slices"

	"github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun"
	cajun "github.com/cajun-go/cajun/runtime"
)

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
func (l *load) placement() map[string]int {
	c := l.node.Cluster()
	names := names(c)
	counts := make(map[string]int)
	for i := range l.actors {
		shard, ok := c.Owner(l.pid(i))
		if name := names[shard.Owner]; ok && name != "" {
			counts[name]++
		}
	}
	return counts
}

// owned returns which actors live on the node with this name.
func (l *load) owned(name string) map[int]bool {
	c := l.node.Cluster()
	names := names(c)
	set := make(map[int]bool)
	for i := range l.actors {
		if shard, ok := c.Owner(l.pid(i)); ok && names[shard.Owner] == name {
			set[i] = true
		}
	}
	return set
}
