package embedetcd_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/metadata/etcdmeta"
	"github.com/cajun-go/cajun/metadata/metatest"
)

// compacting lets the suite compact through a client of its own.
type compacting struct {
	*etcdmeta.Store
	client *clientv3.Client
}

func (c compacting) Compact(ctx context.Context, revision int64) error {
	_, err := c.client.Compact(ctx, revision)
	return err
}

// client connects a client that ends with the test.
func client(t *testing.T, cfg clientv3.Config) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestConformance(t *testing.T) {
	t.Run("Open", func(t *testing.T) {
		t.Parallel()
		server := start(t, "")
		c := client(t, server.Config())
		metatest.Run(t, func(t testing.TB) metadata.Store { return compacting{open(t, server), c} })
	})
	t.Run("New", func(t *testing.T) {
		t.Parallel()
		c := client(t, start(t, "").Config())
		metatest.Run(t, func(t testing.TB) metadata.Store {
			store := etcdmeta.New(c)
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			return compacting{store, c}
		})
	})
}

func TestCloseLeavesOwnersClientOpen(t *testing.T) {
	c := client(t, start(t, "").Config())
	if err := etcdmeta.New(c).Close(); err != nil {
		t.Fatal(err)
	}
	again := etcdmeta.New(c)
	defer again.Close()
	put(t, again, "k", "v")
}

// calls are all methods that may wait for the server.
func calls(s metadata.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Get":    func(ctx context.Context) error { _, _, err := s.Get(ctx, "k"); return err },
		"List":   func(ctx context.Context) error { _, err := s.List(ctx, "k"); return err },
		"Grant":  func(ctx context.Context) error { _, err := s.Grant(ctx, time.Second); return err },
		"Revoke": func(ctx context.Context) error { return s.Revoke(ctx, 7) },
		"Commit": func(ctx context.Context) error {
			_, err := s.Commit(ctx, metadata.Txn{Then: []metadata.Op{metadata.Put("k", nil, 0)}})
			return err
		},
		"KeepAlive": func(ctx context.Context) error { return s.KeepAlive(ctx, 7) },
	}
}

// The server may be gone, with connections refused, or silent, with
// connections that nobody answers. Neither holds up a call beyond its context.
func TestUnreachableServer(t *testing.T) {
	for name, disconnect := range map[string]func(*testing.T, *proxy, *clientv3.Client){
		"gone": func(t *testing.T, p *proxy, c *clientv3.Client) {
			p.lead(nil)
			p.cut()
			// A call that is sent before the client notices fails at once.
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if !c.ActiveConnection().WaitForStateChange(ctx, connectivity.Ready) {
				t.Fatal("the client does not notice that its connection is gone")
			}
		},
		"silent": func(_ *testing.T, p *proxy, _ *clientv3.Client) { p.muted.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t, "")
			p := newProxy(t)
			p.lead(server)
			c := client(t, p.config(server))
			store := etcdmeta.New(c)
			defer store.Close()
			put(t, store, "k", "v")
			disconnect(t, p, c)
			wantDeadline(t, store)
		})
	}
}

// wantDeadline expects every method to give up at its deadline.
func wantDeadline(t *testing.T, store metadata.Store) {
	t.Helper()
	for name, call := range calls(store) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		err := call(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want context.DeadlineExceeded", name, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s took %v for a deadline of 150ms", name, took)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	if b, ok := <-store.Watch(ctx, "k", 0); ok {
		t.Errorf("the watch says %+v", b)
	}
}

// What Close overtakes may have been applied, so it must not be told
// ErrClosed, which promises that nothing was.
func TestCloseDuringCalls(t *testing.T) {
	server := start(t, "")
	c := client(t, newProxy(t).config(server)) // it leads nowhere
	for name := range calls(nil) {
		// The client stays open, so it is the store that must end the call.
		store := etcdmeta.New(c)
		entered, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- calls(store)[name](&entering{Context: t.Context(), entered: entered}) }()
		<-entered
		store.Close()
		select {
		case err := <-done:
			if err == nil || errors.Is(err, metadata.ErrClosed) || errors.Is(err, metadata.ErrLeaseGone) {
				t.Errorf("%s: %v, want an error that leaves the outcome open", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s goes on though the store is closed", name)
		}
	}
}

// entering is a context that tells when a call has begun: it looks at Err
// before anything else, and asks for Done when it is about to wait.
type entering struct {
	context.Context
	once    sync.Once
	entered chan struct{}
}

func (c *entering) Done() <-chan struct{} {
	c.once.Do(func() { close(c.entered) })
	return c.Context.Done()
}

func TestWatchResumesWithoutGaps(t *testing.T) {
	dir := t.TempDir()
	p := newProxy(t)
	server := start(t, dir)
	p.lead(server)
	watching, err := etcdmeta.Open(p.config(server))
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Close()
	writing := open(t, server)
	w := watching.Watch(t.Context(), "k", put(t, writing, "k0", "v").Revision)

	var want []int64
	for i := range 10 {
		want = append(want, put(t, writing, fmt.Sprint("k", i), "v").Revision)
		p.cut()
	}
	// A new server on the same folder, at another address.
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	server = start(t, dir)
	writing = open(t, server)
	want = append(want, put(t, writing, "k", "v").Revision)
	p.lead(server)
	p.cut()
	want = append(want, put(t, writing, "k", "v").Revision)

	timeout := time.After(30 * time.Second)
	for len(want) > 0 {
		select {
		case b := <-w:
			if b.Err != nil {
				t.Fatal(b.Err)
			}
			for _, ev := range b.Events {
				if len(want) == 0 || ev.Entry.Modified != want[0] {
					t.Fatalf("revision %d, want %v", ev.Entry.Modified, want)
				}
				want = want[1:]
			}
		case <-timeout:
			t.Fatalf("still missing: %v", want)
		}
	}
}

// While a watch catches up, etcd sends the past in pieces under the newest
// revision. Whoever resumes after what a batch claims must miss nothing.
func TestBatchClaimsNoMoreThanItHolds(t *testing.T) {
	store := open(t, start(t, ""))
	var last int64
	const writes = 1200 // more than the 1000 revisions that etcd sends in one piece
	for range writes {
		last = put(t, store, "k", "v").Revision
	}
	for seen, after := 0, int64(0); seen < writes; {
		ctx, cancel := context.WithCancel(t.Context())
		b := <-store.Watch(ctx, "k", after)
		cancel()
		if b.Err != nil {
			t.Fatal(b.Err)
		}
		seen += len(b.Events)
		if b.Revision == last && seen < writes {
			t.Fatalf("a batch claims to be complete up to %d, with %d of %d events seen", last, seen, writes)
		}
		after = b.Revision
	}
}

func BenchmarkCommit(b *testing.B) {
	store := open(b, start(b, b.TempDir()))
	for b.Loop() {
		put(b, store, "k", "0123456789abcdef0123456789abcdef")
	}
}

func BenchmarkCommitParallel(b *testing.B) {
	store := open(b, start(b, b.TempDir()))
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			put(b, store, "k", "0123456789abcdef0123456789abcdef")
		}
	})
}

func BenchmarkTxn60(b *testing.B) {
	store := open(b, start(b, b.TempDir()))
	var t metadata.Txn
	for i := range 60 {
		t.Then = append(t.Then, metadata.Put(fmt.Sprint("k", i), []byte("0123456789abcdef0123456789abcdef"), 0))
	}
	for b.Loop() {
		if r, err := store.Commit(b.Context(), t); err != nil || !r.Applied {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(float64(60*b.N)/b.Elapsed().Seconds(), "puts/s")
}

func BenchmarkKeepAlive(b *testing.B) {
	store := open(b, start(b, b.TempDir()))
	lease, err := store.Grant(b.Context(), time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := store.KeepAlive(b.Context(), lease.ID); err != nil {
			b.Fatal(err)
		}
	}
}
