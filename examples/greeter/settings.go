package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/cajun-go/cajun/gateway"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	cajun "github.com/cajun-go/cajun/runtime"
)

// defaultCluster is the cluster of those who name none.
const defaultCluster = "greeter"

// settings are the flags.
type settings struct {
	nodes, actors, calls, callers int
	etcd                          string
	cluster, name, listen         string
	gateway                       string
	leaseTTL                      time.Duration
	serve, child, json, verbose   bool
}

// parse reads the flags and refuses what cannot work. Help goes to the given
// writer, and the error is flag.ErrHelp then.
func parse(args []string, help io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("greeter", flag.ContinueOnError)
	f.IntVar(&s.nodes, "nodes", 3, "how many node processes to start, 2 or more; 0 uses nodes that run already (needs -etcd)")
	f.IntVar(&s.actors, "actors", 1000, "how many actors to greet")
	f.IntVar(&s.calls, "calls", 12000, "how many greetings to send in all")
	f.IntVar(&s.callers, "callers", 64, "how many greetings to have under way at once")
	f.StringVar(&s.etcd, "etcd", "", "endpoints of an etcd to use, separated by commas; else one is started in this process")
	f.StringVar(&s.cluster, "cluster", defaultCluster, "name of the cluster")
	f.DurationVar(&s.leaseTTL, "lease", 2*time.Second, "how long the cluster waits for a silent node")
	f.StringVar(&s.gateway, "gateway", "", "address on which curl and others reach the actors, such as 127.0.0.1:8080; else nobody does")
	f.BoolVar(&s.json, "json", false, "print the result as one JSON object")
	f.BoolVar(&s.verbose, "v", false, "log what the nodes do")
	f.BoolVar(&s.serve, "serve", false, "run one node until it is interrupted")
	f.StringVar(&s.name, "name", "", "with -serve: the node's name")
	f.StringVar(&s.listen, "listen", "", "with -serve: address for other nodes; else a free loopback port")
	f.BoolVar(&s.child, "until-stdin-ends", false, "with -serve: stop when standard input ends, as child processes do")
	f.SetOutput(io.Discard) // the flag set would print each error and all flags before main prints the error
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(help, "Usage of greeter:")
		f.SetOutput(help)
		f.PrintDefaults()
		return s, err
	case err != nil:
		return s, fmt.Errorf("%w; see -help", err)
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is not understood; see -help", f.Arg(0))
	}
	return s, s.check()
}

// check returns what is wrong with the first flag that cannot work.
func (s settings) check() error {
	if s.leaseTTL < member.MinTTL {
		return fmt.Errorf("-lease %v: give %v or more", s.leaseTTL, member.MinTTL)
	}
	if _, err := metadata.NewSpace(s.cluster); err != nil {
		return fmt.Errorf("-cluster %q: %w", s.cluster, err)
	}
	for _, endpoint := range s.endpoints() {
		if s.etcd != "" && endpoint == "" {
			return fmt.Errorf("-etcd %q: there is an empty endpoint: give them as http://host:port, separated by commas", s.etcd)
		}
	}
	if _, _, err := net.SplitHostPort(s.gateway); s.gateway != "" && err != nil {
		return fmt.Errorf("-gateway %s: give it as host:port: %w", s.gateway, err)
	}
	if s.serve {
		return nil
	}
	switch {
	case s.name != "":
		return fmt.Errorf("-name %s: only a node has a name: give -serve too", s.name)
	case s.listen != "":
		return fmt.Errorf("-listen %s: only a node listens: give -serve too", s.listen)
	case s.child:
		return errors.New("-until-stdin-ends: only for a node: give -serve too")
	case s.nodes == 0 && s.etcd == "":
		return errors.New("-nodes 0 uses nodes that run already: say with -etcd where they meet")
	case s.nodes < 0, s.nodes == 1:
		return fmt.Errorf("-nodes %d: give -nodes 2 or more, as one is killed, or 0 to use nodes that run already", s.nodes)
	case s.actors < len(levels):
		return fmt.Errorf("-actors %d: give %d or more, one for each delivery level", s.actors, len(levels))
	case s.calls < s.actors:
		return fmt.Errorf("-calls %d: give %d or more, one for each of the -actors", s.calls, s.actors)
	case s.callers < 1:
		return fmt.Errorf("-callers %d: give 1 or more", s.callers)
	}
	return nil
}

// endpoints are the addresses that -etcd gives.
func (s settings) endpoints() []string {
	endpoints := strings.Split(s.etcd, ",")
	for i := range endpoints {
		endpoints[i] = strings.TrimSpace(endpoints[i])
	}
	return endpoints
}

// logger logs to standard error: everything with -v, else what went wrong.
func (s settings) logger() *slog.Logger {
	level := slog.LevelError
	if s.verbose {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// door opens the node's gateway, if one is asked for.
func (s settings) door() cajun.Option {
	if s.gateway == "" {
		return nil
	}
	return gateway.With(s.gateway)
}
