package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cajun-go/cajun/cajunetcd"
	cajun "github.com/cajun-go/cajun/runtime"
)

const (
	// etcdAddress is where -serve keeps its etcd, for the next terminal to find.
	etcdAddress = "127.0.0.1:2379"
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
		ctx = untilStdinEnds(ctx)
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
	)
	if err != nil {
		return err
	}
	fmt.Println(readyLine, s.name)
	if !s.child {
		fmt.Printf("Start another node:  go run ./examples/greeter -serve -etcd %s\n", strings.Join(etcd.Endpoints, ","))
		fmt.Printf("Send greetings:      go run ./examples/greeter -nodes 0 -etcd %s\n", strings.Join(etcd.Endpoints, ","))
		fmt.Println("Stop with Ctrl-C: the node hands its actors over first.")
	}
	return node.Run(ctx, grace)
}

// untilStdinEnds returns a context that ends with standard input, so that no
// child outlives its parent.
func untilStdinEnds(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		io.Copy(io.Discard, os.Stdin)
	}()
	return ctx
}
