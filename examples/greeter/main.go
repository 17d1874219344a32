// The greeter example shows the framework at work: it starts an etcd inside
// this process and three nodes as child processes, greets a thousand actors at
// all three delivery levels, kills one node with SIGKILL in the middle, and
// checks over the actors' own durable counters that every promise was kept.
//
//	go run ./examples/greeter
//
// To watch a cluster for longer, run nodes by hand, one per terminal:
//
//	go run ./examples/greeter -serve
//	go run ./examples/greeter -serve -etcd http://127.0.0.1:2379
//
// and send greetings to them from a third, as often as you like:
//
//	go run ./examples/greeter -nodes 0 -etcd http://127.0.0.1:2379
//
// With -gateway 127.0.0.1:8080 a node can be reached with curl, too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	s, err := parse(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "greeter:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, s)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "greeter:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	if s.serve {
		return serve(ctx, s)
	}
	etcd, stop, err := s.openEtcd(ctx, "")
	if err != nil {
		return err
	}
	defer stop()
	return demonstrate(ctx, s, etcd)
}
