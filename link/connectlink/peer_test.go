package connectlink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	linkv1 "github.com/cajun-go/cajun/gen/cajun/link/v1"
	"github.com/cajun-go/cajun/internal/bubble"
	"github.com/cajun-go/cajun/link"
)

// streamsTo counts the streams to a session.
func (n *testNode) streamsTo(session string) (count int) {
	if p, ok := n.peers.Load(session); ok {
		p.(*peer).each(func(*stream) { count++ })
	}
	return count
}

func TestCutConnection(t *testing.T) {
	a, b := openNode(t, "a", nil), openNode(t, "b", nil)
	wire := startProxy(t, b.Address())
	if err := a.send(b.at(wire.address()), 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the frame", func() bool { return len(b.received()) == 1 })
	wire.cut()
	for n, peer := range map[*testNode]string{a: "b", b: "a"} {
		eventually(t, "PeerDown", func() bool {
			_, down := n.down(peer)
			return down
		})
		if n.Connected(peer) {
			t.Error("Connected after PeerDown")
		}
	}
	if err := a.send(b.at(wire.address()), 2); err != nil {
		t.Fatalf("after the cut: %v", err)
	}
	eventually(t, "the frame", func() bool { return len(b.received()) == 2 })
}

func TestCloseEndsStreamsInOrder(t *testing.T) {
	for _, closes := range []string{"dialer", "dialed"} {
		a, b := openNode(t, "dialer", nil), openNode(t, "dialed", nil)
		a.mustReach(b)
		first, other := a, b
		if closes == "dialed" {
			first, other = b, a
		}
		before := len(other.received())
		const count = 500
		for id := range uint64(count) {
			if err := first.send(other.peer(), id); err != nil {
				t.Fatal(err)
			}
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "PeerDown", func() bool {
			_, down := other.down(closes)
			return down
		})
		if err, _ := other.down(closes); !errors.Is(err, errPeerClosed) {
			t.Errorf("the %s closes, and the reason is %v", closes, err)
		}
		if n := len(other.received()) - before; n != count {
			t.Errorf("the %s closes, and %d of %d frames arrive", closes, n, count)
		}
		_ = other.Close()
	}
}

func TestSilentPeerIsFoundOut(t *testing.T) {
	ping := WithPing(50*time.Millisecond, 50*time.Millisecond)
	a, b := openNode(t, "a", nil, ping), openNode(t, "b", nil, ping)
	wire := startProxy(t, b.Address())
	if err := a.send(b.at(wire.address()), 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the frame", func() bool { return len(b.received()) == 1 })
	// Idle, but alive: pings are answered.
	idle := time.NewTimer(500 * time.Millisecond)
	<-idle.C
	if !a.Connected("b") || !b.Connected("a") {
		t.Fatal("an idle stream was given up")
	}
	wire.swallow()
	for n, peer := range map[*testNode]string{a: "b", b: "a"} {
		eventually(t, "PeerDown", func() bool {
			_, down := n.down(peer)
			return down
		})
	}
}

func TestBothDialAndOneStays(t *testing.T) {
	for round := range 20 {
		a, b := openNode(t, "a", nil), openNode(t, "b", nil)
		var wg sync.WaitGroup
		wg.Go(func() { _ = a.probe(b.peer()) })
		wg.Go(func() { _ = b.probe(a.peer()) })
		wg.Wait()
		eventually(t, "one stream", func() bool { return a.streamsTo("b") == 1 && b.streamsTo("a") == 1 })
		a.mustReach(b)
		b.mustReach(a)
		if _, down := a.down("b"); down {
			t.Fatalf("round %d: PeerDown", round)
		}
		_ = a.Close()
		_ = b.Close()
	}
}

// TestSecondStreamReplacesTheFirst: a peer that dials although it has a stream
// knows better than we do that the stream is broken.
func TestSecondStreamReplacesTheFirst(t *testing.T) {
	node := openNode(t, "node", nil)
	hello := helloBatch(t, &linkv1.Hello{Version: link.Version, Cluster: "c", From: "peer", To: "node"})
	first, second := dialRaw(t, node.Address()), dialRaw(t, node.Address())
	var batch firstBatch
	if err := errors.Join(first.Send(hello), first.Receive(&batch)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(second.Send(hello), second.Receive(&batch)); err != nil {
		t.Fatal(err)
	}
	if err, down := node.down("peer"); !down || !errors.Is(err, errReplaced) {
		t.Errorf("PeerDown: %v, %v", down, err)
	}
	if err := receiveError(first); err == nil {
		t.Error("the first stream goes on")
	}
	if err := node.send(link.Peer{Session: "peer"}, 5); err != nil {
		t.Fatal(err)
	}
	if err := second.Receive(&batch); err != nil {
		t.Errorf("the second stream: %v", err)
	}
}

// TestOneBreakEndsBoth: frames may have been on either of two streams.
func TestOneBreakEndsBoth(t *testing.T) {
	node := openNode(t, "node", nil)
	p, err := node.acquire("peer")
	if err != nil {
		t.Fatal(err)
	}
	defer node.release(p)
	var aborted []bool
	open := func(dialed bool) *stream {
		s := node.newStream(p, nil, &linkv1.Hello{MaxMessage: 1000})
		i := len(aborted)
		aborted = append(aborted, false)
		s.dialed, s.abort = dialed, func() { aborted[i] = true }
		if err := p.attach(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	first, second := open(true), open(false)
	p.fail(second, errors.New("broke"))
	if !aborted[0] || !aborted[1] || node.Connected("peer") {
		t.Errorf("aborted: %v, connected: %v", aborted, node.Connected("peer"))
	}
	p.detach(second)
	if _, down := node.down("peer"); down {
		t.Error("PeerDown before the last stream is gone")
	}
	third := node.newStream(p, nil, &linkv1.Hello{MaxMessage: 1000})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.attach(ctx, third); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a stream is added before PeerDown: %v", err)
	}
	p.detach(first)
	if err, down := node.down("peer"); !down || err.Error() != "broke" {
		t.Errorf("PeerDown: %v, %v", down, err)
	}
	if err := p.attach(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	if !node.Connected("peer") {
		t.Error("the next stream was not added")
	}
	p.detach(third)
}

func TestFailedDialsAreSpread(t *testing.T) {
	door := startProxy(t, "127.0.0.1:1") // accepts, then closes: nobody listens there
	node := openNode(t, "node", nil)
	to := link.Peer{Session: "peer", Address: door.address()}
	for range 100 {
		if err := node.send(to, 1); err == nil {
			t.Fatal("Send to nobody works")
		}
	}
	if n := door.dials(); n > 20 {
		t.Errorf("100 failing Sends dialed %d times", n)
	}
	before := door.dials()
	for range 5 {
		if err := node.probe(to); err == nil {
			t.Fatal("Probe of nobody works")
		}
	}
	if n := door.dials() - before; n != 5 {
		t.Errorf("5 Probes dialed %d times", n)
	}
}

func TestSendersShareADial(t *testing.T) {
	a, b := openNode(t, "a", nil), openNode(t, "b", nil)
	door := startProxy(t, b.Address())
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := a.send(b.at(door.address()), 1); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := door.dials(); n != 1 {
		t.Errorf("50 senders dialed %d times", n)
	}
}

func TestNothingIsKeptOfPeersThatAreGone(t *testing.T) {
	a := openNode(t, "a", nil)
	for i := range 10 {
		b := openNode(t, fmt.Sprintf("b%d", i), nil)
		a.mustReach(b)
		_ = b.Close()
		_ = a.send(link.Peer{Session: fmt.Sprintf("nobody%d", i)}, 1)
	}
	eventually(t, "an empty table", func() bool {
		count := 0
		a.peers.Range(func(any, any) bool { count++; return true })
		return count == 0
	})
}

func TestFailures(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var fs failures
		down := errors.New("down")
		var pauses []time.Duration
		for range 8 {
			fs.record("s", "a", down)
			start := time.Now()
			for fs.recent("s", "a") != nil {
				time.Sleep(time.Millisecond)
			}
			pauses = append(pauses, time.Since(start))
		}
		if pauses[0] != firstPause || pauses[1] != 2*firstPause || pauses[7] != longestWait {
			t.Errorf("pauses %v", pauses)
		}
		fs.record("s", "a", down)
		if fs.recent("s", "b") != nil || fs.recent("other", "a") != nil {
			t.Error("failures are not kept apart")
		}
		fs.record("s", "a", nil)
		if fs.recent("s", "a") != nil {
			t.Error("a success is forgotten")
		}
		for i := range 10_000 {
			fs.record(fmt.Sprint(i), "a", down)
			time.Sleep(time.Millisecond)
		}
		if len(fs.of) > 1000 {
			t.Errorf("%d failures are kept", len(fs.of))
		}
	})
}

func TestOutbox(t *testing.T) {
	frame := func(size int) *link.Frame {
		return &link.Frame{Request: &link.Request{Payload: make([]byte, size)}}
	}
	bubble.Test(t, func(t *testing.T) {
		o := newOutbox(1000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := o.add(ctx, frame(5000)); err != nil {
			t.Fatalf("a frame over the limit finds no way into an empty batch: %v", err)
		}
		if err := o.add(ctx, frame(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a full outbox says %v", err)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- o.add(t.Context(), frame(1)) }()
		synctest.Wait()
		batch, ok := o.take(nil)
		if !ok || len(batch) < 5000 {
			t.Errorf("took %d bytes, %v", len(batch), ok)
		}
		if err := <-waiting; err != nil {
			t.Errorf("there is room, and add says %v", err)
		}
		o.close(false)
		if err := o.add(t.Context(), frame(1)); !errors.Is(err, errEnded) {
			t.Errorf("a closed outbox says %v", err)
		}
		if batch, ok := o.take(batch); !ok || len(batch) == 0 {
			t.Error("closing lost a frame")
		}
		if _, ok := o.take(nil); ok {
			t.Error("a closed outbox goes on")
		}

		o = newOutbox(10)
		_ = o.add(t.Context(), frame(5))
		go func() { waiting <- o.add(t.Context(), frame(5)) }()
		synctest.Wait()
		o.close(true)
		if err := <-waiting; !errors.Is(err, errEnded) {
			t.Errorf("a sender that waits for a stream that ends gets %v", err)
		}
		if _, ok := o.take(nil); ok {
			t.Error("a dropped frame is sent")
		}
	})
}
