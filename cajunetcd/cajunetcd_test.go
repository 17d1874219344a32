package cajunetcd

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	cajun "github.com/cajun-go/cajun/runtime"
)

// nobody is the configuration for an address that refuses connections.
func nobody(t *testing.T) clientv3.Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return clientv3.Config{Endpoints: []string{l.Addr().String()}}
}

// A start without a deadline does not wait for ever, and says what is missing.
func TestNoEtcdWithoutDeadline(t *testing.T) {
	cfg := nobody(t)
	withCredentials := cfg
	withCredentials.Username, withCredentials.Password = "alice", "secret"
	for _, cfg := range []clientv3.Config{cfg, withCredentials} {
		_, _, _, err := open(context.Background(), cfg, "test", 50*time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), cfg.Endpoints[0]) || !strings.Contains(err.Error(), "start one there") {
			t.Errorf("an etcd that is away, as user %q: %v", cfg.Username, err)
		}
	}
}

// The deadline of the user counts, be it later or sooner than the bound.
func TestNoEtcdWithDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, _, _, err := open(ctx, nobody(t), "test", time.Nanosecond); err == nil {
		t.Error("no error without an etcd")
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("gave up after %v, before the context's deadline", took)
	}
}

// Nodes that start at the same time may share an option. The race detector is
// what fails here.
func TestOptionIsShared(t *testing.T) {
	option := With(nobody(t))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var starts sync.WaitGroup
	for range 4 {
		starts.Go(func() {
			if node, err := cajun.Start(ctx, option); err == nil {
				t.Error("a node started without an etcd")
				node.Close()
			}
		})
	}
	starts.Wait()
}
