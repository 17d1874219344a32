// Package linktest holds the tests that every link.Transport has to pass.
package linktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cajun-go/cajun/link"
)

// Killer is implemented by transports that can end an endpoint as kill -9
// does. Tests that need it are skipped for others.
type Killer interface{ Kill(session string) }

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// cluster is the name that the nodes of a test share.
const cluster = "linktest"

// Run tests a transport. open is called for each test; the function that it
// returns is called for each node and returns the node's transport. All nodes
// of one test must be able to reach each other.
func Run(t *testing.T, open func(t testing.TB) (newTransport func() link.Transport)) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *net)
	}{
		{"Delivery", testDelivery},
		{"ReplyToClientOnly", testClientOnly},
		{"ManySenders", testManySenders},
		{"Numbers", testNumbers},
		{"BothDial", testBothDial},
		{"LargePayloads", testLargePayloads},
		{"PeerTakesLess", testPeerTakesLess},
		{"BadFrames", testBadFrames},
		{"NothingRetained", testNothingRetained},
		{"PeerDownOnClose", testPeerDownOnClose},
		{"PeerDownOnKill", testPeerDownOnKill},
		{"Refused", testRefused},
		{"RestartAtTheSameAddress", testRestart},
		{"OtherCluster", testOtherCluster},
		{"SendHonoursContext", testSendHonoursContext},
		{"SlowReceiver", testSlowReceiver},
		{"CloseEndsEverything", testCloseEndsEverything},
		{"CloseWhileBusy", testCloseWhileBusy},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			t.Cleanup(func() {
				eventually(t, "its goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
				if t.Failed() {
					stacks := make([]byte, 1<<20)
					t.Logf("goroutines:\n%s", stacks[:runtime.Stack(stacks, true)])
				}
			})
			test.run(t, &net{t: t, newTransport: open(t)})
		})
	}
}

// net makes the nodes of one test.
type net struct {
	t            *testing.T
	newTransport func() link.Transport
}

// node is an endpoint and what it has heard.
type node struct {
	link.Endpoint
	t         *testing.T
	session   string
	transport link.Transport

	mu     sync.Mutex
	got    []received
	downs  map[string]error
	closed bool
	late   bool // heard something after Close
	// onFrame, when set, is called instead of recording.
	onFrame func(from string, f link.Frame)
}

type received struct {
	from    string
	request link.Request
	reply   link.Response
}

func (n *node) Receive(from string, f link.Frame) {
	n.mu.Lock()
	n.late = n.late || n.closed
	on := n.onFrame
	n.mu.Unlock()
	if on != nil {
		on(from, f)
		return
	}
	r := received{from: from}
	if f.Request != nil {
		r.request = *f.Request
		r.request.Payload = bytes.Clone(f.Request.Payload)
		r.request.Chain = slices.Clone(f.Request.Chain)
		r.request.OpenBelow = slices.Clone(f.Request.OpenBelow)
		r.request.Headers = slices.Clone(f.Request.Headers)
	}
	if f.Response != nil {
		r.reply = *f.Response
		r.reply.Payload = bytes.Clone(f.Response.Payload)
		r.reply.Details = nil
	}
	n.mu.Lock()
	n.got = append(n.got, r)
	n.mu.Unlock()
}

func (n *node) PeerDown(session string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.late = n.late || n.closed
	n.downs[session] = err
}

func (n *node) frames() []received {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.got)
}

func (n *node) isDown(session string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, down := n.downs[session]
	return down
}

func (n *node) Close() error {
	err := n.Endpoint.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return err
}

func (n *node) peer() link.Peer { return link.Peer{Session: n.session, Address: n.Address()} }

// open starts a node; change may change its configuration.
func (n *net) open(session string, change ...func(*link.Config)) *node {
	n.t.Helper()
	opened := &node{t: n.t, session: session, transport: n.newTransport(), downs: make(map[string]error)}
	cfg := link.Config{
		Cluster: cluster, Session: session, Receiver: opened,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, c := range change {
		c(&cfg)
	}
	e, err := opened.transport.Open(n.t.Context(), cfg)
	if err != nil {
		n.t.Fatalf("Open: %v", err)
	}
	opened.Endpoint = e
	n.t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			n.t.Errorf("Close: %v", err)
		}
		opened.mu.Lock()
		defer opened.mu.Unlock()
		if opened.late {
			n.t.Error("the receiver was called after Close")
		}
	})
	return opened
}

// send sends a request; it has patience seconds.
func (n *node) send(to link.Peer, r link.Request) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.Send(ctx, to, link.Frame{Request: &r})
}

func (n *node) mustSend(to link.Peer, r link.Request) {
	n.t.Helper()
	if err := n.send(to, r); err != nil {
		n.t.Fatalf("Send: %v", err)
	}
}

func (n *node) probe(to link.Peer) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.Probe(ctx, to)
}

// connect makes two nodes that have heard of each other.
func connect(a, b *node) {
	a.t.Helper()
	a.mustSend(b.peer(), link.Request{ID: 1})
	b.waitFor(1)
}

// waitFor waits until n frames have come.
func (n *node) waitFor(count int) []received {
	n.t.Helper()
	eventually(n.t, fmt.Sprintf("%d frames at %s", count, n.session), func() bool { return len(n.frames()) >= count })
	return n.frames()
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Errorf("waited %v in vain for %s", patience, what)
			return
		}
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s says %v, want %v", what, err, want)
	}
}
