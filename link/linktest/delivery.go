package linktest

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
)

func testDelivery(t *testing.T, n *net) {
	a, b := n.open("a"), n.open("b")
	request := link.Request{
		ID: 7, Kind: "k", Key: "key", Method: "m", Shard: 3, Epoch: 9, Level: guarantee.ExactlyOnce,
		OneWay: true, Repeat: true, Call: guarantee.CallID{Session: "s", Sequence: 5, Part: 6, Key: "c"}, Hops: 7,
		Errand:    &link.Errand{Task: 3, Name: "t", After: time.Second, Every: time.Minute, Sequence: 9},
		Watermark: 4, OpenBelow: []uint64{1, 3}, Timeout: time.Second, Chain: []string{"k/x", "k/y"},
		Headers: []link.Header{{Key: "h", Value: "v"}}, Payload: []byte("payload"),
	}
	a.mustSend(b.peer(), request)
	got := b.waitFor(1)[0]
	if got.from != "a" || !reflect.DeepEqual(got.request, request) {
		t.Fatalf("got %+v from %q", got.request, got.from)
	}
	response := link.Response{
		ID: 7, Code: 5, Message: "no", Outcome: guarantee.NotCommitted, Retryable: true, InternalText: true, Replayed: true,
		Payload: []byte("reply"),
	}
	if err := b.Send(t.Context(), a.peer(), link.Frame{Response: &response}); err != nil {
		t.Fatal(err)
	}
	if got := a.waitFor(1)[0]; got.from != "b" || !reflect.DeepEqual(got.reply, response) {
		t.Fatalf("got %+v from %q", got.reply, got.from)
	}
	if !a.Connected("b") || !b.Connected("a") || a.Connected("c") {
		t.Error("Connected is wrong about the open streams")
	}
	if err := a.probe(b.peer()); err != nil {
		t.Errorf("Probe: %v", err)
	}
}

func testClientOnly(t *testing.T, n *net) {
	server := n.open("server")
	client := n.open("client", func(c *link.Config) { c.ClientOnly = true })
	if client.Address() != "" {
		t.Errorf("a node that only calls has the address %q", client.Address())
	}
	connect(client, server)
	server.mustSend(link.Peer{Session: "client"}, link.Request{ID: 2})
	if got := client.waitFor(1)[0]; got.from != "server" || got.request.ID != 2 {
		t.Fatalf("got %+v", got)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "PeerDown", func() bool { return server.isDown("client") })
	wantError(t, "Send", server.send(link.Peer{Session: "client"}, link.Request{ID: 3}), link.ErrNoAddress)
	wantError(t, "Probe", server.probe(link.Peer{Session: "client"}), link.ErrNoAddress)
}

func testManySenders(t *testing.T, n *net) {
	const senders, each = 32, 100
	a, b := n.open("a"), n.open("b")
	var wg sync.WaitGroup
	for s := range senders {
		for _, pair := range [][2]*node{{a, b}, {b, a}} {
			wg.Go(func() {
				for i := range each {
					id := uint64(s*each + i + 1)
					r := link.Request{ID: id, Key: fmt.Sprint(id), Payload: bytes.Repeat([]byte{byte(id)}, int(id%300))}
					if err := pair[0].send(pair[1].peer(), r); err != nil {
						t.Errorf("Send: %v", err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	for _, at := range []*node{a, b} {
		seen := make(map[uint64]bool)
		for _, got := range at.waitFor(senders * each) {
			r := got.request
			if seen[r.ID] || r.Key != fmt.Sprint(r.ID) ||
				!bytes.Equal(r.Payload, bytes.Repeat([]byte{byte(r.ID)}, int(r.ID%300))) {
				t.Fatalf("%s got %+v, seen before: %v", at.session, r, seen[r.ID])
			}
			seen[r.ID] = true
		}
	}
}

// numbers gives out IDs in the order in which it is asked.
type numbers struct{ last atomic.Uint64 }

func (n *numbers) Number() uint64 { return n.last.Add(1) }

// testNumbers has many senders ask the link for numbers, which have to arrive
// in order and without gaps: who does not send gets none.
func testNumbers(t *testing.T, n *net) {
	const senders, each = 32, 100
	a, b := n.open("a"), n.open("b")
	given := new(numbers)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			for range each {
				r := link.Request{Payload: make([]byte, 100)}
				if err := a.Send(ctx, b.peer(), link.Frame{Request: &r, Number: given}); err != nil || r.ID == 0 {
					t.Errorf("Send: %v, number %d", err, r.ID)
					return
				}
				if a.Send(canceled, b.peer(), link.Frame{Request: &r, Number: given}) == nil {
					t.Error("sent although its context has ended")
				}
			}
		})
	}
	wg.Wait()
	for i, got := range b.waitFor(senders * each) {
		if got.request.ID != uint64(i+1) {
			t.Fatalf("number %d came in place %d", got.request.ID, i+1)
		}
	}
	wantError(t, "Send", a.Send(t.Context(), b.peer(), link.Frame{Cancel: &link.Cancel{ID: 1}, Number: given}), link.ErrMalformed)
}

// testBothDial has two nodes begin to send to each other at the same moment:
// nothing may be lost, and nobody may be told of a broken stream.
func testBothDial(t *testing.T, n *net) {
	for round := range 20 {
		a, b := n.open(fmt.Sprintf("a%d", round)), n.open(fmt.Sprintf("b%d", round))
		const each = 50
		start := make(chan struct{})
		var wg sync.WaitGroup
		for _, pair := range [][2]*node{{a, b}, {b, a}} {
			wg.Go(func() {
				<-start
				for i := range each {
					if err := pair[0].send(pair[1].peer(), link.Request{ID: uint64(i + 1)}); err != nil {
						t.Errorf("Send: %v", err)
					}
				}
			})
		}
		close(start)
		wg.Wait()
		a.waitFor(each)
		b.waitFor(each)
		if a.isDown(b.session) || b.isDown(a.session) {
			t.Fatalf("PeerDown although nothing broke: %v, %v", a.downs, b.downs)
		}
		if len(a.frames()) != each || len(b.frames()) != each {
			t.Fatalf("%d and %d of %d frames", len(a.frames()), len(b.frames()), each)
		}
		_ = a.Close()
		_ = b.Close()
	}
}

func testLargePayloads(t *testing.T, n *net) {
	const limit = 3 << 20
	limited := func(c *link.Config) { c.MaxMessage = limit }
	a, b := n.open("a", limited), n.open("b", limited)
	for i, size := range []int{0, 1, 4 << 10, 64 << 10, 1 << 20, limit - 1, limit} {
		payload := bytes.Repeat([]byte{byte(i + 1)}, size)
		a.mustSend(b.peer(), link.Request{ID: uint64(i + 1), Payload: payload})
		got := b.waitFor(i + 1)[i].request
		if got.ID != uint64(i+1) || !bytes.Equal(got.Payload, payload) {
			t.Fatalf("%d bytes came as %d", size, len(got.Payload))
		}
	}
	tooLarge := make([]byte, limit+1)
	wantError(t, "Send", a.send(b.peer(), link.Request{ID: 99, Payload: tooLarge}), link.ErrTooLarge)
	err := a.Send(t.Context(), b.peer(), link.Frame{Response: &link.Response{ID: 99, Payload: tooLarge}})
	wantError(t, "Send", err, link.ErrTooLarge)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := a.send(b.peer(), link.Request{ID: uint64(100 + i), Payload: make([]byte, limit)}); err != nil {
				t.Errorf("Send: %v", err)
			}
		})
	}
	wg.Wait()
	b.waitFor(7 + 8)
	if b.isDown("a") || a.isDown("b") {
		t.Error("large payloads broke the stream")
	}
}

// testPeerTakesLess has nodes that disagree on the limit: a frame over the
// receiver's must fail by itself and not end the stream for all others.
func testPeerTakesLess(t *testing.T, n *net) {
	a := n.open("a")
	b := n.open("b", func(c *link.Config) { c.MaxMessage = 1000 })
	connect(a, b)
	wantError(t, "Send", a.send(b.peer(), link.Request{ID: 2, Payload: make([]byte, 1001)}), link.ErrTooLarge)
	a.mustSend(b.peer(), link.Request{ID: 3, Payload: make([]byte, 1000)})
	b.waitFor(2)
	b.mustSend(a.peer(), link.Request{ID: 1})
	a.waitFor(1)
	if a.isDown("b") || b.isDown("a") {
		t.Error("the stream broke")
	}
}

func testBadFrames(t *testing.T, n *net) {
	a, b := n.open("a"), n.open("b")
	connect(a, b)
	wantError(t, "Send", a.Send(t.Context(), b.peer(), link.Frame{}), link.ErrMalformed)
	wantError(t, "Send", a.send(b.peer(), link.Request{Key: "\xff"}), link.ErrMalformed)
	wantError(t, "Send", a.send(b.peer(), link.Request{Chain: make([]string, link.MaxChain+1)}), link.ErrTooLarge)
	if err := a.send(a.peer(), link.Request{ID: 1}); err == nil {
		t.Error("a node can send to itself")
	}
	a.mustSend(b.peer(), link.Request{ID: 2})
	b.waitFor(2)
}

// testNothingRetained reuses what it sent at once.
func testNothingRetained(t *testing.T, n *net) {
	a, b := n.open("a"), n.open("b")
	payload := make([]byte, 100)
	const count = 500
	for i := range count {
		for j := range payload {
			payload[j] = byte(i)
		}
		a.mustSend(b.peer(), link.Request{ID: uint64(i + 1), Payload: payload})
	}
	for i, got := range b.waitFor(count) {
		if !bytes.Equal(got.request.Payload, bytes.Repeat([]byte{byte(got.request.ID - 1)}, len(payload))) {
			t.Fatalf("frame %d changed after Send", i)
		}
	}
}

func testSlowReceiver(t *testing.T, n *net) {
	a, b := n.open("a"), n.open("b")
	const count = 200
	var got atomic.Int64
	b.mu.Lock()
	b.onFrame = func(string, link.Frame) {
		<-time.After(time.Millisecond)
		got.Add(1)
	}
	b.mu.Unlock()
	var wg sync.WaitGroup
	for s := range 4 {
		wg.Go(func() {
			for i := range count / 4 {
				r := link.Request{ID: uint64(s*count + i + 1), Payload: make([]byte, 50_000)}
				if err := a.send(b.peer(), r); err != nil {
					t.Errorf("Send: %v", err)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "all frames", func() bool { return got.Load() == count })
	if a.isDown("b") {
		t.Error("a slow receiver broke the stream")
	}
}

func testSendHonoursContext(t *testing.T, n *net) {
	a, b := n.open("a"), n.open("b")
	connect(a, b)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	err := a.Send(canceled, b.peer(), link.Frame{Request: &link.Request{ID: 2}})
	wantError(t, "Send with a cancelled context", err, context.Canceled)
	wantError(t, "Probe with a cancelled context", a.Probe(canceled, b.peer()), context.Canceled)

	release := make(chan struct{})
	b.mu.Lock()
	b.onFrame = func(string, link.Frame) { <-release }
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	var queued atomic.Int64
	for range 4 {
		wg.Go(func() {
			for {
				f := link.Frame{Request: &link.Request{ID: 3, Payload: make([]byte, 1<<20)}}
				if err := a.Send(ctx, b.peer(), f); err != nil {
					wantError(t, "Send to a stuck receiver", err, context.DeadlineExceeded)
					return
				}
				if queued.Add(1) > 1000 {
					t.Error("Send never waits for room")
					return
				}
			}
		})
	}
	wg.Wait()
	close(release)
}
