package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cajun-go/cajun/cajunetcd"
	"github.com/cajun-go/cajun/examples/internal/process"
	cajun "github.com/cajun-go/cajun/runtime"
)

const (
	// grace is how long a node may take to hand its actors over.
	grace = 10 * time.Second
	// readyLine begins the line that a node prints when it is up.
	readyLine = "node is up:"
)

// serve runs one node until it is interrupted.
func serve(ctx context.Context, s settings) error {
	etcd, stop, err := s.openEtcd(ctx, etcdAddress)
	if err != nil {
		return err
	}
	defer stop()
	if s.child {
		ctx = process.UntilStdinEnds(ctx)
	}
	if s.name == "" {
		s.name = fmt.Sprintf("greeter-%d", os.Getpid())
	}
	node, err := cajun.Start(ctx,
		cajunetcd.With(etcd),
		cajun.WithCluster(s.cluster),
		cajun.WithName(s.name),
		cajun.WithListen(s.listen),
		cajun.WithLeaseTTL(s.leaseTTL),
		cajun.WithLogger(s.logger()),
		hostGreeter(s.name),
		s.door(),
	)
	if err != nil {
		return err
	}
	fmt.Println(readyLine, s.name)
	if !s.child {
		meet := "-etcd " + strings.Join(etcd.Endpoints, ",")
		if s.cluster != defaultCluster {
			meet += fmt.Sprintf(" -cluster %q", s.cluster)
		}
		fmt.Println("Start another node:  go run ./examples/greeter -serve", meet)
		fmt.Println("Send greetings:      go run ./examples/greeter -nodes 0", meet)
		if s.gateway != "" {
			fmt.Printf("Greet by hand:       curl -H 'Content-Type: application/json' -d '{\"name\": \"Ann\"}' http://%s/actors/bob/greeter.v1.Greeter/Greet\n", s.gateway)
		}
		fmt.Println("Stop with Ctrl-C: the node hands its actors over first.")
		if s.etcd == "" {
			fmt.Println("This process also holds the cluster's etcd: stop it last, after all other nodes.")
		}
	}
	return node.Run(ctx, grace)
}
