package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/cajunetcd"
	"github.com/cajun-go/cajun/gateway"
	cajun "github.com/cajun-go/cajun/runtime"
)

// What is called over a network lives in a process of its own: this test
// binary again, told by its environment what to serve.
const (
	serveVariable = "CAJUN_BENCH_SERVE"
	etcdVariable  = "CAJUN_BENCH_ETCD"
)

func TestMain(m *testing.M) {
	what := os.Getenv(serveVariable)
	if what == "" {
		os.Exit(m.Run())
	}
	if err := serve(what); err != nil {
		fmt.Fprintln(os.Stderr, what, err)
		os.Exit(1)
	}
}

// serve prints the address that it serves at, and serves until its standard
// input ends.
func serve(what string) error {
	var address string
	var stop func()
	var err error
	switch what {
	case "tcp":
		address, stop, err = serveTCP()
	case "grpc":
		address, stop, err = serveGRPC()
	case "connect":
		address, stop, err = serveConnect()
	case "cajun":
		address, stop, err = serveCajun(hosts())
	case "gateway":
		address, stop, err = serveGateway(hosts())
	case "gateway alone":
		address, stop, err = serveGateway(cajun.WithClientOnly())
	}
	if err != nil {
		return err
	}
	defer stop()
	fmt.Println(address)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// inEtcd is the cluster of the benchmark.
func inEtcd() cajun.Option {
	return cajun.Options(cajunetcd.With(clientv3.Config{Endpoints: strings.Split(os.Getenv(etcdVariable), ",")}), cajun.WithLogger(slog.New(slog.DiscardHandler)))
}

func serveCajun(what cajun.Option) (string, func(), error) {
	node, err := cajun.Start(context.Background(), inEtcd(), what)
	if err != nil {
		return "", nil, err
	}
	return node.ID(), func() { node.Close() }, nil
}

// serveGateway starts a node with a gateway.
func serveGateway(what cajun.Option) (string, func(), error) {
	node, err := cajun.Start(context.Background(), inEtcd(), what, gateway.With("127.0.0.1:0"))
	if err != nil {
		return "", nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		for _, m := range node.Cluster().Members { // the view may be a moment behind
			if m.Session == node.ID() && m.Gateway != "" {
				return m.Gateway, func() { node.Close() }, nil
			}
		}
	}
	node.Close()
	return "", nil, errors.New("the node tells no gateway")
}

// startServer starts a server process and returns its address.
func startServer(b *testing.B, what string, env ...string) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), serveVariable+"="+what), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatalf("the %s server did not start: %v", what, err)
	}
	return strings.TrimSpace(line)
}
