package connectlink

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	linkv1 "github.com/cajun-go/cajun/gen/cajun/link/v1"
	"github.com/cajun-go/cajun/link"
)

const (
	// closeGrace is how long Close lets streams send what they hold.
	closeGrace = 250 * time.Millisecond
	// abortGrace is how long a stream that is given up may take to say why.
	abortGrace = 250 * time.Millisecond
)

// endpoint is one node's end of the link.
type endpoint struct {
	transport *transport
	cfg       link.Config
	address   string
	server    *http.Server   // nil for nodes that only call
	serving   sync.WaitGroup // its goroutine
	failures  failures
	peers     sync.Map // session to *peer

	// life ends when everything has to stop, closing closes when nothing new
	// may start.
	life    context.Context
	stop    context.CancelFunc
	closing chan struct{}

	mu       sync.Mutex
	closed   bool
	accepted int
	wg       sync.WaitGroup // Add with mu held and closed unset
}

func newEndpoint(t *transport, cfg link.Config) *endpoint {
	e := &endpoint{transport: t, cfg: cfg, closing: make(chan struct{})}
	e.life, e.stop = context.WithCancel(context.Background())
	return e
}

// Address implements link.Endpoint.
func (e *endpoint) Address() string { return e.address }

// Send implements link.Endpoint.
func (e *endpoint) Send(ctx context.Context, to link.Peer, f link.Frame) error {
	if err := f.Check(e.cfg.MaxMessage); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s := e.open(to.Session); s != nil {
		if err := s.send(ctx, &f); err != errEnded {
			return err
		}
	}
	p, err := e.acquire(to.Session)
	if err != nil {
		return err
	}
	defer e.release(p)
	for {
		s, err := p.reach(ctx, to.Address, false)
		if err != nil {
			return err
		}
		if err := s.send(ctx, &f); err != errEnded {
			return err
		}
	}
}

// Probe implements link.Endpoint. Unlike Send it always makes an attempt of
// its own when no stream is open, or joins one that is under way.
func (e *endpoint) Probe(ctx context.Context, to link.Peer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := e.acquire(to.Session)
	if err != nil {
		return err
	}
	defer e.release(p)
	_, err = p.reach(ctx, to.Address, true)
	return err
}

// Connected implements link.Endpoint.
func (e *endpoint) Connected(session string) bool {
	s := e.open(session)
	return s != nil && !s.out.isClosed()
}

// Close implements link.Endpoint. What was sent before still goes out, unless
// that takes longer than a moment.
func (e *endpoint) Close() error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	e.mu.Unlock()
	if first {
		close(e.closing)
	}
	done := make(chan struct{})
	go func() {
		e.wg.Wait()
		close(done)
	}()
	e.eachStream(func(s *stream) { s.out.close(false) })
	select {
	case <-done:
	case <-time.After(closeGrace):
	}
	// Streams first: Shutdown waits for their handlers.
	e.stop()
	e.eachStream(func(s *stream) { s.peer.fail(s, link.ErrClosed) })
	<-done
	if e.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	err := e.server.Shutdown(ctx)
	if err != nil {
		err = e.server.Close()
	}
	e.serving.Wait()
	return err
}

func (e *endpoint) eachStream(f func(*stream)) {
	e.peers.Range(func(_, p any) bool {
		p.(*peer).each(f)
		return true
	})
}

// open returns the stream to send to a session on, or nil.
func (e *endpoint) open(session string) *stream {
	if p, ok := e.peers.Load(session); ok {
		return p.(*peer).best.Load()
	}
	return nil
}

// acquire returns the peer of a session and keeps it in the table until
// release.
func (e *endpoint) acquire(session string) (*peer, error) {
	if session == e.cfg.Session {
		return nil, fmt.Errorf("connectlink: the session %q cannot dial itself", session)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, link.ErrClosed
	}
	var p *peer
	if v, ok := e.peers.Load(session); ok {
		p = v.(*peer)
	} else {
		p = &peer{endpoint: e, session: session, changed: make(chan struct{})}
		e.peers.Store(session, p)
	}
	p.users++
	return p, nil
}

func (e *endpoint) release(p *peer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.users--; p.users == 0 {
		e.peers.Delete(p.session)
	}
}

// begin accounts for a goroutine that Close waits for; it must call e.wg.Done.
func (e *endpoint) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.wg.Add(1)
	return true
}

func (e *endpoint) hello(to string) ([]byte, error) {
	return appendHello(nil, &linkv1.Hello{
		Version: link.Version, Cluster: e.cfg.Cluster, From: e.cfg.Session, To: to,
		MaxMessage: toUint32(e.cfg.MaxMessage),
	})
}

// newStream makes the stream of a peer that has introduced itself.
func (e *endpoint) newStream(p *peer, wire messages, hello *linkv1.Hello) *stream {
	peerMax := int(hello.MaxMessage)
	return &stream{
		peer: p, wire: wire, peerMax: peerMax,
		out: newOutbox(min(e.transport.sendBuffer, batchLimit(peerMax))),
		in:  newInbound(&e.cfg, p.session),
	}
}
