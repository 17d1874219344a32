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
// and send greetings to them from a third:
//
//	go run ./examples/greeter -nodes 0 -etcd http://127.0.0.1:2379
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/metadata/embedetcd"
)

// settings are the flags.
type settings struct {
	nodes, actors, calls, callers int
	etcd                          string
	cluster, name, listen         string
	leaseTTL                      time.Duration
	serve, child, json, verbose   bool
}

func main() {
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, s)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "greeter:", err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	f := flag.NewFlagSet("greeter", flag.ContinueOnError)
	f.IntVar(&s.nodes, "nodes", 3, "how many node processes to start; 0 uses nodes that run already (needs -etcd)")
	f.IntVar(&s.actors, "actors", 1000, "how many actors to greet")
	f.IntVar(&s.calls, "calls", 12000, "how many greetings to send in all")
	f.IntVar(&s.callers, "callers", 64, "how many greetings to have under way at once")
	f.StringVar(&s.etcd, "etcd", "", "endpoints of an etcd to use, separated by commas; else one is started in this process")
	f.StringVar(&s.cluster, "cluster", "greeter", "name of the cluster")
	f.DurationVar(&s.leaseTTL, "lease", 2*time.Second, "how long the cluster waits for a silent node")
	f.BoolVar(&s.json, "json", false, "print the result as one JSON object")
	f.BoolVar(&s.verbose, "v", false, "log what the nodes do")
	f.BoolVar(&s.serve, "serve", false, "run one node until it is interrupted")
	f.StringVar(&s.name, "name", "", "with -serve: the node's name")
	f.StringVar(&s.listen, "listen", "", "with -serve: address for other nodes; else a free loopback port")
	f.BoolVar(&s.child, "until-stdin-ends", false, "with -serve: stop when standard input ends, as child processes do")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is not understood; see -help", f.Arg(0))
	case s.serve:
		return s, nil
	case s.nodes < 0, s.actors < 3, s.calls < s.actors, s.callers < 1:
		return s, errors.New("give -nodes 0 or more, -actors 3 or more, -calls no fewer than -actors, and -callers 1 or more")
	case s.nodes == 0 && s.etcd == "":
		return s, errors.New("-nodes 0 uses nodes that run already: say with -etcd where they meet")
	}
	return s, nil
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

// openEtcd returns how to reach the etcd that the cluster meets in. Without
// -etcd it starts one, at the given address or else on a free port.
func (s settings) openEtcd(ctx context.Context, address string) (clientv3.Config, func(), error) {
	if s.etcd != "" {
		return clientv3.Config{Endpoints: strings.Split(s.etcd, ","), DialTimeout: 5 * time.Second}, func() {}, nil
	}
	var opts []embedetcd.Option
	if address != "" {
		opts = append(opts, embedetcd.WithClientAddress(address))
	}
	server, err := embedetcd.Start(ctx, "", opts...)
	if err != nil {
		return clientv3.Config{}, nil, fmt.Errorf("the embedded etcd did not start: %w", err)
	}
	return server.Config(), func() { server.Close() }, nil
}

// logger logs to standard error: everything with -v, else what went wrong.
func (s settings) logger() *slog.Logger {
	level := slog.LevelError
	if s.verbose {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
