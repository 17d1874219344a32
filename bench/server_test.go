package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/cajunetcd"
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
	case "cajun":
		address, stop, err = serveCajun(strings.Split(os.Getenv(etcdVariable), ","))
	}
	if err != nil {
		return err
	}
	defer stop()
	fmt.Println(address)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func serveCajun(endpoints []string) (string, func(), error) {
	node, err := cajun.Start(context.Background(), cajunetcd.With(clientv3.Config{Endpoints: endpoints}), hosts(), cajun.WithName("host"))
	if err != nil {
		return "", nil, err
	}
	return node.ID(), func() { node.Close() }, nil
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
