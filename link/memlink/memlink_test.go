package memlink_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/link/memlink"
)

// node is an endpoint that keeps what it hears.
type node struct {
	link.Endpoint
	session string

	mu    sync.Mutex
	ids   []uint64
	downs []string
	// stuck, when set, is received from before a frame is taken note of.
	stuck chan struct{}
}

func (n *node) Receive(_ string, f link.Frame) {
	if n.stuck != nil {
		<-n.stuck
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids = append(n.ids, f.Request.ID)
}

func (n *node) PeerDown(session string, _ error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.downs = append(n.downs, session)
}

// heard returns what arrived up to now, once nothing moves any more.
func (n *node) heard() (ids []uint64, downs []string) {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.ids), slices.Clone(n.downs)
}

func (n *node) peer() link.Peer { return link.Peer{Session: n.session, Address: n.Address()} }

func open(t *testing.T, network *memlink.Network, session string) *node {
	t.Helper()
	n := &node{session: session}
	e, err := network.Transport().Open(t.Context(), link.Config{Cluster: "c", Session: session, Receiver: n})
	if err != nil {
		t.Fatal(err)
	}
	n.Endpoint = e
	return n
}

func request(id uint64) link.Frame { return link.Frame{Request: &link.Request{ID: id}} }

func send(t *testing.T, from, to *node, ids ...uint64) {
	t.Helper()
	for _, id := range ids {
		if err := from.Send(t.Context(), to.peer(), request(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPartition(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		a, b := open(t, network, "a"), open(t, network, "b")
		defer a.Close()
		defer b.Close()
		send(t, a, b, 1)
		b.heard()
		network.Partition("a", b.Address())
		send(t, a, b, 2)
		if _, downs := b.heard(); len(downs) > 0 || !a.Connected("b") {
			t.Fatal("the partition was noticed at once")
		}
		time.Sleep(memlink.DetectionDelay)
		for _, n := range []*node{a, b} {
			if _, downs := n.heard(); len(downs) != 1 {
				t.Fatalf("%s heard PeerDown for %v", n.session, downs)
			}
		}
		if a.Connected("b") || b.Connected("a") {
			t.Fatal("the stream is still open")
		}
		start := time.Now()
		err := a.Probe(t.Context(), b.peer())
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, link.ErrRefused) {
			t.Fatalf("Probe says %v", err)
		}
		if took := time.Since(start); took != memlink.DialTimeout {
			t.Fatalf("Probe took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := b.Send(ctx, a.peer(), request(3)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Send says %v", err)
		}
		network.Heal()
		send(t, a, b, 4)
		if ids, _ := b.heard(); !slices.Equal(ids, []uint64{1, 4}) {
			t.Fatalf("b received %v", ids)
		}
	})
}

func TestPartitionHealedBeforeItIsNoticed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		a, b := open(t, network, "a"), open(t, network, "b")
		defer a.Close()
		defer b.Close()
		send(t, a, b, 1)
		b.heard()
		for range 3 {
			network.Partition("b", "a")
			send(t, a, b, 2)
			time.Sleep(memlink.DetectionDelay / 2)
			network.Heal()
		}
		time.Sleep(time.Minute)
		send(t, a, b, 3)
		ids, downs := b.heard()
		if !slices.Equal(ids, []uint64{1, 3}) || len(downs) > 0 {
			t.Fatalf("received %v, PeerDown for %v", ids, downs)
		}
	})
}

func TestDialAcrossAPartitionThatHeals(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		a, b := open(t, network, "a"), open(t, network, "b")
		defer a.Close()
		defer b.Close()
		network.Partition("a", "b")
		time.AfterFunc(memlink.DialTimeout/2, network.Heal)
		send(t, a, b, 1)
		if ids, _ := b.heard(); len(ids) != 1 {
			t.Fatal("the frame was lost")
		}
	})
}

func TestKill(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		network.SetFaults(link.Faults{Delay: time.Second})
		a, b := open(t, network, "a"), open(t, network, "b")
		defer a.Close()
		defer b.Close()
		send(t, a, b, 1)
		send(t, b, a, 2)
		network.Kill("b")
		if _, downs := a.heard(); !slices.Equal(downs, []string{"b"}) {
			t.Fatalf("a heard PeerDown for %v", downs)
		}
		if err := a.Probe(t.Context(), b.peer()); !errors.Is(err, link.ErrRefused) {
			t.Fatalf("Probe says %v", err)
		}
		if err := b.Send(t.Context(), a.peer(), request(3)); !errors.Is(err, link.ErrClosed) {
			t.Fatalf("the killed node's Send says %v", err)
		}
		time.Sleep(time.Minute)
		ids, _ := a.heard()
		dead, downs := b.heard()
		if len(ids)+len(dead)+len(downs) > 0 {
			t.Fatalf("a received %v, the killed node received %v and PeerDown for %v", ids, dead, downs)
		}
	})
}

func TestPause(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		a, b, c := open(t, network, "a"), open(t, network, "b"), open(t, network, "c")
		defer a.Close()
		defer b.Close()
		defer c.Close()
		send(t, a, b, 1)
		b.heard()
		network.Pause("b")
		send(t, a, b, 2, 3)
		if ids, _ := b.heard(); len(ids) != 1 {
			t.Fatalf("the paused node received %v", ids)
		}
		sent := make(chan error, 1)
		go func() { sent <- b.Send(t.Context(), a.peer(), request(4)) }()
		if ids, _ := a.heard(); len(ids) > 0 {
			t.Fatalf("the paused node sent %v", ids)
		}
		for _, n := range []*node{a, c} {
			if err := n.Probe(t.Context(), b.peer()); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("%s's Probe says %v", n.session, err)
			}
		}
		c.Close()
		network.Resume("b")
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if ids, _ := a.heard(); !slices.Equal(ids, []uint64{4}) {
			t.Fatalf("a received %v", ids)
		}
		if ids, downs := b.heard(); !slices.Equal(ids, []uint64{1, 2, 3}) || len(downs) > 0 {
			t.Fatalf("b received %v, PeerDown for %v", ids, downs)
		}
	})
}

func TestPauseWithinABatch(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		a, b := open(t, network, "a"), open(t, network, "b")
		defer a.Close()
		defer b.Close()
		b.stuck = make(chan struct{})
		send(t, a, b, 1)
		b.heard()
		send(t, a, b, 2, 3) // they wait together
		b.stuck <- struct{}{}
		b.heard()
		network.Pause("b")
		close(b.stuck)
		if ids, _ := b.heard(); !slices.Equal(ids, []uint64{1, 2}) {
			t.Errorf("received %v, and the call for 2 was under way", ids)
		}
		network.Resume("b")
		if ids, _ := b.heard(); !slices.Equal(ids, []uint64{1, 2, 3}) {
			t.Errorf("received %v", ids)
		}
	})
}

// TestNewStreamWaitsForTheNews: a node must not get a frame of the next stream
// before it was told of the end of the last one.
func TestNewStreamWaitsForTheNews(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		a, b := open(t, network, "a"), open(t, network, "b")
		defer a.Close()
		defer b.Close()
		b.stuck = make(chan struct{})
		send(t, a, b, 1)
		b.heard()
		network.Partition("a", "b")
		time.Sleep(memlink.DetectionDelay)
		if _, downs := a.heard(); len(downs) != 1 {
			t.Errorf("a heard PeerDown for %v", downs)
		}
		network.Heal()
		sent := make(chan error, 1)
		go func() { sent <- a.Send(t.Context(), b.peer(), request(2)) }()
		synctest.Wait()
		select {
		case err := <-sent:
			t.Errorf("Send did not wait: %v", err)
		default:
		}
		close(b.stuck)
		if ids, downs := b.heard(); !slices.Equal(ids, []uint64{1, 2}) || len(downs) != 1 {
			t.Errorf("b received %v, PeerDown for %v", ids, downs)
		}
	})
}

func TestPausedQueueIsBounded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		a, b := open(t, network, "a"), open(t, network, "b")
		defer a.Close()
		defer b.Close()
		send(t, a, b, 1)
		b.heard()
		network.Pause("b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		const size = 64 << 10
		sent := 0
		var err error
		for ; err == nil && sent < 1000; sent++ {
			f := request(uint64(sent + 2))
			f.Request.Payload = make([]byte, size)
			err = a.Send(ctx, b.peer(), f)
		}
		if !errors.Is(err, context.DeadlineExceeded) || sent*size > memlink.SendBuffer+2*size {
			t.Fatalf("%d frames were queued, then %v", sent, err)
		}
		network.Resume("b")
		send(t, a, b, 5000)
		if ids, _ := b.heard(); len(ids) != sent+1 {
			t.Fatalf("received %d of %d", len(ids), sent+1)
		}
	})
}

// outcome sends n frames under faults and returns what arrives.
func outcome(t *testing.T, f link.Faults, n uint64) (ids []uint64) {
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		network.SetFaults(f)
		a, b := open(t, network, "a"), open(t, network, "b")
		defer a.Close()
		defer b.Close()
		for id := uint64(1); id <= n; id++ {
			send(t, a, b, id)
		}
		time.Sleep(time.Minute)
		ids, _ = b.heard()
	})
	return ids
}

func TestFaults(t *testing.T) {
	const n = 2000
	near := func(got int, share float64) bool {
		want := int(share * n)
		return got > want*8/10 && got < want*12/10
	}
	var all []uint64
	for id := uint64(1); id <= n; id++ {
		all = append(all, id)
	}
	t.Run("none", func(t *testing.T) {
		if ids := outcome(t, link.Faults{Seed: 1}, n); !slices.Equal(ids, all) {
			t.Error("frames were disturbed")
		}
	})
	t.Run("loss", func(t *testing.T) {
		ids := outcome(t, link.Faults{Seed: 1, Loss: 0.2}, n)
		if !near(n-len(ids), 0.2) || !slices.IsSorted(ids) {
			t.Errorf("%d of %d were lost, in order: %v", n-len(ids), n, slices.IsSorted(ids))
		}
	})
	t.Run("duplicate", func(t *testing.T) {
		ids := outcome(t, link.Faults{Seed: 1, Duplicate: 0.2}, n)
		if !near(len(ids)-n, 0.2) {
			t.Errorf("%d of %d were repeated", len(ids)-n, n)
		}
		slices.Sort(ids)
		if !slices.Equal(slices.Compact(ids), all) {
			t.Error("frames were lost")
		}
	})
	t.Run("reorder", func(t *testing.T) {
		ids := outcome(t, link.Faults{Seed: 1, Reorder: 0.1}, n)
		if slices.IsSorted(ids) {
			t.Error("all frames came in order")
		}
		slices.Sort(ids)
		if !slices.Equal(ids, all) {
			t.Error("frames were lost or repeated")
		}
	})
	t.Run("delay", func(t *testing.T) {
		ids := outcome(t, link.Faults{Seed: 1, Delay: time.Second}, n)
		if !slices.Equal(ids, all) {
			t.Error("a delay alone must not lose, repeat or reorder")
		}
	})
	t.Run("reproducible", func(t *testing.T) {
		f := link.Faults{Seed: 7, Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, Delay: 50 * time.Millisecond}
		first := outcome(t, f, n)
		if !slices.Equal(first, outcome(t, f, n)) {
			t.Error("the same seed gives another outcome")
		}
		f.Seed = 8
		if slices.Equal(first, outcome(t, f, n)) {
			t.Error("another seed gives the same outcome")
		}
	})
}

func TestDelayTakesTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		network := memlink.NewNetwork()
		network.SetFaults(link.Faults{Seed: 3, Delay: time.Second})
		a, b := open(t, network, "a"), open(t, network, "b")
		defer a.Close()
		defer b.Close()
		send(t, a, b, 1)
		if ids, _ := b.heard(); len(ids) > 0 {
			t.Fatal("the frame came at once")
		}
		time.Sleep(time.Second)
		if ids, _ := b.heard(); len(ids) != 1 {
			t.Fatal("the frame took longer than the longest delay")
		}
	})
}

func BenchmarkEcho(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			network := memlink.NewNetwork()
			server := &echo{peer: link.Peer{Session: "client", Address: "mem:client"}}
			client := &waiter{}
			for range callers {
				client.done = append(client.done, make(chan struct{}, 1))
			}
			var err error
			server.Endpoint, err = network.Transport().Open(b.Context(), link.Config{Session: "server", Receiver: server})
			if err != nil {
				b.Fatal(err)
			}
			defer server.Close()
			e, err := network.Transport().Open(b.Context(), link.Config{
				Session: "client", Listen: "mem:client", Receiver: client,
			})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			to := link.Peer{Session: "server", Address: server.Address()}
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					r := link.Request{ID: uint64(c), Payload: make([]byte, 32)}
					for i := c; i < b.N; i += callers {
						if err := e.Send(b.Context(), to, link.Frame{Request: &r}); err != nil {
							panic(err)
						}
						<-client.done[c]
					}
				})
			}
			wg.Wait()
		})
	}
}

type echo struct {
	link.Endpoint
	peer link.Peer
}

func (e *echo) Receive(_ string, f link.Frame) {
	r := link.Response{ID: f.Request.ID, Payload: f.Request.Payload}
	if err := e.Send(context.Background(), e.peer, link.Frame{Response: &r}); err != nil {
		panic(err)
	}
}

func (*echo) PeerDown(string, error) {}

type waiter struct{ done []chan struct{} }

func (w *waiter) Receive(_ string, f link.Frame) { w.done[f.Response.ID] <- struct{}{} }
func (w *waiter) PeerDown(string, error)         {}
