package linktest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/cajun-go/cajun/link"
)

func testPeerDownOnClose(t *testing.T, n *net) {
	a, b := n.open("a"), n.open("b")
	connect(a, b)
	// What was sent before still arrives.
	b.mustSend(a.peer(), link.Request{ID: 9})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "PeerDown", func() bool { return a.isDown("b") })
	if got := a.frames(); len(got) != 1 || got[0].request.ID != 9 {
		t.Errorf("received %+v", got)
	}
	if a.Connected("b") {
		t.Error("Connected to a closed peer")
	}

	c, d := n.open("c"), n.open("d")
	connect(c, d)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "PeerDown at the side that was dialed", func() bool { return d.isDown("c") })
}

func testPeerDownOnKill(t *testing.T, n *net) {
	a, b := n.open("a"), n.open("b")
	killer, ok := b.transport.(Killer)
	if !ok {
		t.Skip("the transport cannot kill")
	}
	connect(a, b)
	killer.Kill("b")
	eventually(t, "PeerDown", func() bool { return a.isDown("b") })
	wantError(t, "Probe", a.probe(b.peer()), link.ErrRefused)
	wantError(t, "the dead node's Send", b.send(a.peer(), link.Request{ID: 1}), link.ErrClosed)
	if b.isDown("a") {
		t.Error("a dead node was told of a peer")
	}
}

func testRefused(t *testing.T, n *net) {
	a, b := n.open("a"), n.open("b")
	to := b.peer()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantError(t, "Probe", a.probe(to), link.ErrRefused)
		wantError(t, "Send", a.send(to, link.Request{ID: 1}), link.ErrRefused)
	}
	if a.isDown("b") {
		t.Error("PeerDown without a stream")
	}
}

func testRestart(t *testing.T, n *net) {
	a, old := n.open("a"), n.open("old")
	connect(a, old)
	was := old.peer()
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "PeerDown", func() bool { return a.isDown("old") })
	fresh := n.open("fresh", func(c *link.Config) { c.Listen = was.Address })
	if fresh.Address() != was.Address {
		t.Fatalf("the new node is at %q, not %q", fresh.Address(), was.Address)
	}
	wantError(t, "Probe of the old session", a.probe(was), link.ErrWrongPeer)
	wantError(t, "Send to the old session", a.send(was, link.Request{ID: 2}), link.ErrWrongPeer)
	a.mustSend(fresh.peer(), link.Request{ID: 3})
	if got := fresh.waitFor(1); got[0].request.ID != 3 {
		t.Errorf("the new session received %+v", got)
	}
	wantError(t, "Probe of the old session", a.probe(was), link.ErrWrongPeer)
	if fresh.isDown("a") || a.isDown("fresh") {
		t.Error("asking for the old session broke the stream to the new one")
	}
}

func testOtherCluster(t *testing.T, n *net) {
	a := n.open("a")
	b := n.open("b", func(c *link.Config) { c.Cluster = "another" })
	wantError(t, "Probe", a.probe(b.peer()), link.ErrWrongPeer)
	wantError(t, "Send", a.send(b.peer(), link.Request{ID: 1}), link.ErrWrongPeer)
	wantError(t, "Send", b.send(a.peer(), link.Request{ID: 1}), link.ErrWrongPeer)
	if len(a.frames())+len(b.frames()) > 0 {
		t.Error("a frame crossed clusters")
	}
	if a.Connected("b") || b.Connected("a") {
		t.Error("a stream between clusters is open")
	}
}

func testCloseEndsEverything(t *testing.T, n *net) {
	a, b := n.open("a"), n.open("b")
	connect(a, b)
	for range 2 {
		if err := a.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	wantError(t, "Send", a.send(b.peer(), link.Request{ID: 2}), link.ErrClosed)
	wantError(t, "Probe", a.probe(b.peer()), link.ErrClosed)
	if a.Connected("b") {
		t.Error("a closed endpoint is connected")
	}
}

// testCloseWhileBusy closes an endpoint under load, with a peer that does not
// read. The checks at the end of each test look for goroutines and late calls.
func testCloseWhileBusy(t *testing.T, n *net) {
	a, b, stuck := n.open("a"), n.open("b"), n.open("stuck")
	release := make(chan struct{})
	defer close(release)
	stuck.mu.Lock()
	stuck.onFrame = func(string, link.Frame) { <-release }
	stuck.mu.Unlock()
	var wg sync.WaitGroup
	busy := make(chan struct{}, 100)
	for _, pair := range [][2]*node{{a, b}, {b, a}, {a, stuck}, {a, stuck}} {
		wg.Go(func() {
			for {
				f := link.Frame{Request: &link.Request{ID: 1, Payload: make([]byte, 64<<10)}}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				err := pair[0].Send(ctx, pair[1].peer(), f)
				cancel()
				if errors.Is(err, context.DeadlineExceeded) {
					t.Error("Close does not end a Send that waits")
				}
				if err != nil {
					return
				}
				select {
				case busy <- struct{}{}:
				default:
				}
			}
		})
	}
	for range cap(busy) {
		<-busy
	}
	if err := a.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
}
