// Package etcdtest tests etcdstate with a real etcd. The tests have a folder
// of their own so that who imports etcdstate does not need the etcd server's
// modules.
package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cajun-go/cajun/metadata/embedetcd"
	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/etcdstate"
	"github.com/cajun-go/cajun/state/statetest"
)

// start runs an etcd and returns a client of it.
func start(t testing.TB) *clientv3.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := embedetcd.Start(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := clientv3.New(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// stores opens stores in one etcd, each under a prefix of its own and of the
// greatest length.
func stores(client *clientv3.Client) func(t testing.TB) state.Store {
	var n atomic.Int64
	return func(t testing.TB) state.Store {
		store, err := etcdstate.New(client, longPrefix(n.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
}

func longPrefix(n int64) string {
	tail := fmt.Sprintf("%d/", n)
	return "/" + strings.Repeat("p", 127-len(tail)) + tail
}

func TestConformance(t *testing.T) { statetest.Run(t, stores(start(t))) }

// TestSecondHandle opens the same store twice, as two nodes do.
func TestSecondHandle(t *testing.T) {
	client, ctx := start(t), t.Context()
	open := func(prefix string) state.Store {
		store, err := etcdstate.New(client, prefix)
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	one, two, other := open("/cajun/a/"), open("/cajun/a/"), open("/cajun/ab/")
	if err := one.Bind(ctx, "id"); err != nil {
		t.Fatal(err)
	}
	var wrong *state.ClusterError
	if err := two.Bind(ctx, "di"); !errors.As(err, &wrong) || wrong.Bound != "id" {
		t.Errorf("Bind to another cluster by another handle: %v", err)
	}
	if err := other.Bind(ctx, "di"); err != nil {
		t.Errorf("Bind under another prefix: %v", err)
	}
	shard := state.Shard{Kind: "k", Number: 3}
	fence := state.Fence{Epoch: 4, Session: "s"}
	if err := one.Seal(ctx, []state.Seal{{Shard: shard, Fence: fence}})[0]; err != nil {
		t.Fatal(err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	// Closing one handle closes neither the client nor the other handle.
	commit := state.Commit{Actor: state.Actor{Shard: shard, Key: "a"}, Fence: fence, Record: []byte("r")}
	if err := two.Commit(ctx, []state.Commit{commit}); err != nil {
		t.Errorf("Commit by the second handle: %v", err)
	}
	if err := one.Commit(ctx, []state.Commit{commit}); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Commit by the closed handle: %v", err)
	}
}

// TestLayout checks the keys that operators see and that other versions read.
func TestLayout(t *testing.T) {
	client, ctx := start(t), t.Context()
	store, err := etcdstate.New(client, "/cajun/prod/")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Bind(ctx, "id"); err != nil {
		t.Fatal(err)
	}
	shard := state.Shard{Kind: "bank.v1.Account", Number: 12}
	fence := state.Fence{Epoch: 258, Session: "s1"}
	if err := store.Seal(ctx, []state.Seal{{Shard: shard, Fence: fence}})[0]; err != nil {
		t.Fatal(err)
	}
	for version, record := range []string{"r0", "r1", "r2"} {
		err := store.Commit(ctx, []state.Commit{{
			Actor: state.Actor{Shard: shard, Key: "a\x00b"}, Fence: fence, Version: uint64(version),
			Record: []byte(record), Put: []state.Row{{Name: "row/\x00", Value: []byte("v")}},
			Agenda: &state.Agenda{Due: 258, Dead: uint32(version)},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"/cajun/prod/state-cluster":                                    "id v1",
		"/cajun/prod/fences/bank.v1.Account/12":                        "\x00\x00\x00\x00\x00\x00\x01\x02s1 v1",
		"/cajun/prod/actors/bank.v1.Account/12/a\x01\x01b\x00":         "r2 v3",
		"/cajun/prod/actors/bank.v1.Account/12/a\x01\x01b\x00row/\x00": "v v3",
		"/cajun/prod/agendas/bank.v1.Account/12/a\x01\x01b":            "\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x02 v3",
	}
	resp, err := client.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		if got := fmt.Sprintf("%s v%d", kv.Value, kv.Version); got != want[string(kv.Key)] {
			t.Errorf("%q is %q, want %q", kv.Key, got, want[string(kv.Key)])
		}
		delete(want, string(kv.Key))
	}
	for key := range want {
		t.Errorf("%q is missing", key)
	}
}

func BenchmarkStore(b *testing.B) { statetest.Bench(b, stores(start(b))) }
