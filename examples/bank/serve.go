package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/cajunetcd"
	"github.com/cajun-go/cajun/examples/internal/process"
	"github.com/cajun-go/cajun/metadata/embedetcd"
	cajun "github.com/cajun-go/cajun/runtime"
)

const (
	// clusterName is the name of the cluster. It has an etcd of its own.
	clusterName = "bank"
	// readyLine begins the line that a child prints when it is up.
	readyLine = "ready"
	// grace is how long a node may take to hand its actors over.
	grace = 10 * time.Second
)

// serveEtcd runs etcd until standard input ends.
func serveEtcd(ctx context.Context, s settings) error {
	server, err := embedetcd.Start(ctx, filepath.Join(s.dir, "etcd"), embedetcd.WithClientAddress(s.listen), embedetcd.WithLogger(s.logger()))
	if err != nil {
		return err
	}
	fmt.Println(readyLine, server.Config().Endpoints[0])
	<-process.UntilStdinEnds(ctx).Done()
	return server.Close()
}

// serveNode runs one node that hosts the bank until standard input ends.
func serveNode(ctx context.Context, s settings) error {
	ctx = process.UntilStdinEnds(ctx)
	node, err := s.startNode(ctx, hostBank())
	if err != nil {
		return err
	}
	fmt.Println(readyLine, s.name)
	return node.Run(ctx, grace)
}

// startNode starts a node of the bank's cluster.
func (s settings) startNode(ctx context.Context, opts ...cajun.Option) (*cajun.Node, error) {
	return cajun.Start(ctx,
		cajunetcd.With(clientv3.Config{Endpoints: []string{s.etcd}}),
		cajun.WithCluster(clusterName),
		cajun.WithName(s.name),
		cajun.WithLeaseTTL(s.leaseTTL),
		cajun.WithLogger(s.logger()),
		cajun.Options(opts...),
	)
}
