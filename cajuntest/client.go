package cajuntest

import (
	"context"

	cajun "github.com/cajun-go/cajun/runtime"
)

// Client returns a node that only calls: it hosts nothing, so that no actor is
// ever on it, and it has no number, so that nothing but Faults disturbs it. It
// is made on first use and closed with the cluster. Call through it when the
// test is about the nodes that host.
//
// Of the options of Start it has the cluster's name alone, as options that host
// contradict a node that does not. Its logs go to the test's log.
func (c *Cluster) Client() *cajun.Node {
	c.t.Helper()
	c.making <- struct{}{}
	defer func() { <-c.making }()
	c.mu.Lock()
	client := c.client
	c.mu.Unlock()
	if client != nil {
		return client
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	g := newGate()
	node, err := cajun.Start(ctx, append(c.base("client", g), cajun.WithCluster(c.Node(0).Cluster().Name), cajun.WithClientOnly())...)
	if err != nil {
		c.t.Fatalf("cajuntest: client: %v", err)
	}
	c.mu.Lock()
	c.client = node
	c.mu.Unlock()
	c.awaitMember(ctx, node)
	return node
}
