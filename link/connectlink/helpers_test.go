package connectlink

import (
	"context"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/cajun-go/cajun/gen/cajun/link/v1"
	"github.com/cajun-go/cajun/link"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// recorder is a receiver that counts.
type recorder struct {
	mu    sync.Mutex
	ids   []uint64
	downs map[string]error
}

func (r *recorder) Receive(_ string, f link.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.Request != nil {
		r.ids = append(r.ids, f.Request.ID)
	}
}

func (r *recorder) PeerDown(session string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.downs == nil {
		r.downs = make(map[string]error)
	}
	r.downs[session] = err
}

func (r *recorder) received() []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids)
}

func (r *recorder) down(session string) (error, bool) { //nolint:revive // the error is what was recorded
	r.mu.Lock()
	defer r.mu.Unlock()
	err, ok := maps.Clone(r.downs)[session]
	return err, ok
}

// testNode is an endpoint with its recorder.
type testNode struct {
	*endpoint
	*recorder
	t       *testing.T
	session string
}

func openNode(t *testing.T, session string, change func(*link.Config), opts ...Option) *testNode {
	t.Helper()
	n := &testNode{t: t, recorder: &recorder{}, session: session}
	cfg := link.Config{Cluster: "c", Session: session, Receiver: n.recorder}
	if change != nil {
		change(&cfg)
	}
	opened, err := New(opts...).Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.endpoint = opened.(*endpoint)
	t.Cleanup(func() { _ = opened.Close() })
	return n
}

func (n *testNode) peer() link.Peer { return link.Peer{Session: n.session, Address: n.Address()} }

func (n *testNode) at(address string) link.Peer {
	return link.Peer{Session: n.session, Address: address}
}

func (n *testNode) send(to link.Peer, id uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.Send(ctx, to, link.Frame{Request: &link.Request{ID: id}})
}

func (n *testNode) probe(to link.Peer) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.Probe(ctx, to)
}

// mustReach checks that the node can still be called.
func (n *testNode) mustReach(to *testNode) {
	n.t.Helper()
	before := len(to.received())
	if err := n.send(to.peer(), 1); err != nil {
		n.t.Fatalf("the node was harmed: %v", err)
	}
	eventually(n.t, "the frame", func() bool { return len(to.received()) > before })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

// dialRaw opens a stream of the link's service without any introduction.
func dialRaw(t *testing.T, address string) connect.ClientStream {
	t.Helper()
	e := newEndpoint(New().(*transport), link.Config{MaxMessage: link.DefaultMaxMessage})
	conn, err := e.connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := e.openStream(t.Context(), conn, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = wire.Close()
		_ = conn.Close()
	})
	return wire
}

func helloBatch(t *testing.T, h *linkv1.Hello) []byte {
	t.Helper()
	b, err := appendHello(nil, h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// receiveError reads until the stream ends.
func receiveError(wire connect.ClientStream) error {
	for {
		var batch firstBatch
		if err := wire.Receive(&batch); err != nil {
			return err
		}
	}
}

// proxy forwards TCP connections to a node, until it is told not to.
type proxy struct {
	listener net.Listener
	to       string
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	opened int
	hole   bool // swallows everything
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, to: to}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.opened++
		p.conns = append(p.conns, near)
		p.mu.Unlock()
		if p.to == "" {
			continue // accepts, and says nothing
		}
		far, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, far)
		p.mu.Unlock()
		p.wg.Go(func() { p.forward(near, far) })
		p.wg.Go(func() { p.forward(far, near) })
	}
}

func (p *proxy) forward(from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		hole := p.hole
		p.mu.Unlock()
		if hole && err == nil {
			continue
		}
		if n > 0 && !hole {
			if _, err := to.Write(buffer[:n]); err != nil {
				_ = from.Close()
				return
			}
		}
		if err != nil {
			if err == io.EOF || !hole {
				_ = to.Close()
			}
			return
		}
	}
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// swallow lets the connections stand and loses everything.
func (p *proxy) swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = true
}

func (p *proxy) dials() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened
}
