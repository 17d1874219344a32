// Package memlink is a link inside one process, for tests and benchmarks. Its
// frames pass through the same codec as on a real network, so that limits,
// copying and reuse of memory are the same; and it can lose, repeat, reorder
// and delay them, cut nodes off from each other, and kill and pause nodes.
//
// Time comes from package time alone and every wait can be woken, so it runs
// under testing/synctest, where partitions and delays cost no real time.
package memlink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cajun-go/cajun/link"
)

const (
	// DetectionDelay is how long nodes take to notice that a partition broke
	// their stream. Until then what they send is lost without notice.
	DetectionDelay = 200 * time.Millisecond
	// DialTimeout is how long a node tries to reach one that is paused or
	// beyond a partition, unless its context ends before.
	DialTimeout = time.Second
	// SendBuffer is how many bytes may wait for one receiver from one sender.
	// Send waits for room.
	SendBuffer = 4 << 20
)

var (
	errKilled      = errors.New("memlink: the peer was killed")
	errPeerClosed  = errors.New("memlink: the peer closed its endpoint")
	errPartitioned = errors.New("memlink: the peer is beyond a partition")
)

// A Network connects the nodes of one test. Its methods are safe for
// concurrent use, but must not be called by a link.Receiver.
type Network struct {
	faults atomic.Pointer[link.Faults]

	mu        sync.Mutex
	opened    uint64
	sessions  map[string]*endpoint
	addresses map[string]*endpoint
	cut       map[[2]string]bool
	// changed is closed and replaced when something happens that a waiting
	// dial may want to know.
	changed chan struct{}
}

// NewNetwork returns a network without nodes or faults.
func NewNetwork() *Network {
	return &Network{
		sessions:  make(map[string]*endpoint),
		addresses: make(map[string]*endpoint),
		cut:       make(map[[2]string]bool),
		changed:   make(chan struct{}),
	}
}

// Transport returns a transport for one node of the network.
func (n *Network) Transport() link.Transport { return transport{n} }

type transport struct{ network *Network }

func (t transport) Open(ctx context.Context, cfg link.Config) (link.Endpoint, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.Session == "" || cfg.Receiver == nil {
		return nil, errors.New("memlink: Config needs a Session and a Receiver")
	}
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = link.DefaultMaxMessage
	}
	return t.network.open(cfg)
}

func (n *Network) open(cfg link.Config) (*endpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sessions[cfg.Session] != nil {
		return nil, fmt.Errorf("memlink: the session %q is open already; each life of a node needs its own", cfg.Session)
	}
	n.opened++
	e := &endpoint{network: n, cfg: cfg, number: n.opened, stopped: make(chan struct{})}
	if !cfg.ClientOnly {
		if cfg.Listen == "" {
			cfg.Listen = fmt.Sprintf("mem:%d", n.opened)
		}
		if cfg.Advertise == "" {
			cfg.Advertise = cfg.Listen
		}
		for _, address := range []string{cfg.Listen, cfg.Advertise} {
			if n.addresses[address] != nil {
				return nil, fmt.Errorf("memlink: the address %q is in use", address)
			}
		}
		e.listen, e.address = cfg.Listen, cfg.Advertise
		n.addresses[e.listen], n.addresses[e.address] = e, e
	}
	n.sessions[cfg.Session] = e
	n.broadcast()
	return e, nil
}

// SetFaults disturbs all frames sent from now on; the zero Faults ends that.
//
// The fate of the k-th frame that a stream carries in one direction is drawn
// from f.Seed, k, and the places of the two nodes in the order in which the
// network's endpoints were opened, and from nothing else. So a run repeats
// itself as far as the program sends the same frames in the same order between
// each two nodes. How frames of different senders interleave, and which frame
// meets a partition, is up to the scheduler.
func (n *Network) SetFaults(f link.Faults) {
	if f == (link.Faults{Seed: f.Seed}) {
		n.faults.Store(nil)
		return
	}
	n.faults.Store(&f)
}

// Partition cuts two nodes off from each other, each named by its session or
// its address. What is under way between them and what they send is lost.
// After DetectionDelay their stream ends for both, and further attempts to
// reach each other fail after DialTimeout. A name may be of a node that is not
// open, or not yet.
func (n *Network) Partition(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{a, b}] = true
	for _, e := range n.sessions {
		for _, s := range e.allStreams() {
			if !s.ended.Load() && !s.severed.Load() && n.isCut(s.ends[0], s.ends[1].names()) {
				n.sever(s)
			}
		}
	}
	n.broadcast()
}

// Heal ends all partitions. Streams whose end was not yet noticed go on.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	for _, e := range n.sessions {
		for _, s := range e.allStreams() {
			s.severed.Store(false)
			s.cuts++
			if s.detect != nil {
				s.detect.Stop()
			}
		}
	}
	n.broadcast()
}

// Kill ends a node as kill -9 does: nothing that it sent and that is still
// under way arrives, its receiver hears nothing more, not even PeerDown, and
// its address refuses connections at once. Its peers get PeerDown. A call of
// its receiver that is under way goes on. The owner of the endpoint should
// still Close it, to wait for its goroutines.
func (n *Network) Kill(session string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.sessions[session]; e != nil {
		n.remove(e, errKilled, true)
	}
}

// Pause stops a node as SIGSTOP does: its receiver is not called and its Sends
// wait until Resume. Frames sent to it wait in its queues, which are bounded
// by SendBuffer for each sender. Reaching it anew and probing it time out. A
// call of its receiver that is under way goes on.
func (n *Network) Pause(session string) { n.setPaused(session, true) }

// Resume lets a paused node go on.
func (n *Network) Resume(session string) { n.setPaused(session, false) }

func (n *Network) setPaused(session string, paused bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.sessions[session]; e != nil {
		e.paused.Store(paused)
		n.broadcast()
	}
}

// The methods below are called with n.mu held.

func (n *Network) broadcast() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// isCut reports whether a partition lies between e and a node with one of the
// given names.
func (n *Network) isCut(e *endpoint, names []string) bool {
	if len(n.cut) == 0 {
		return false
	}
	for _, a := range e.names() {
		for _, b := range names {
			if b != "" && (n.cut[[2]string{a, b}] || n.cut[[2]string{b, a}]) {
				return true
			}
		}
	}
	return false
}

func (n *Network) sever(s *stream) {
	s.severed.Store(true)
	s.cuts++
	cuts := s.cuts
	for _, in := range s.in {
		in.discard()
	}
	s.detect = time.AfterFunc(DetectionDelay, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if s.cuts == cuts {
			n.end(s, errPartitioned, true)
		}
	})
}

// remove takes an endpoint out of the network. What its peers have not yet
// received is lost when drop is set.
func (n *Network) remove(e *endpoint, reason error, drop bool) {
	if e.removed {
		return
	}
	e.removed = true
	close(e.stopped)
	delete(n.sessions, e.cfg.Session)
	if !e.cfg.ClientOnly {
		delete(n.addresses, e.listen)
		delete(n.addresses, e.address)
	}
	for _, s := range e.allStreams() {
		n.end(s, reason, drop)
	}
	n.broadcast()
}

// end ends a stream for both sides. It stays in their tables until both have
// been told, so that a new stream does not overtake the news.
func (n *Network) end(s *stream, reason error, drop bool) {
	if s.ended.Swap(true) {
		return
	}
	s.cuts++
	if s.detect != nil {
		s.detect.Stop()
	}
	for _, in := range s.in {
		in.end(reason, drop)
	}
}

// connect makes a stream between two endpoints that have none.
func (n *Network) connect(a, b *endpoint) *stream {
	s := &stream{ends: [2]*endpoint{a, b}, readers: 2}
	s.in = [2]*inbox{newInbox(s, a, b), newInbox(s, b, a)}
	a.streams.Store(b.cfg.Session, s)
	b.streams.Store(a.cfg.Session, s)
	for _, in := range s.in {
		in.owner.wg.Go(in.run)
	}
	return s
}

// release is called by each reader of a stream that has ended, after it has
// told its receiver.
func (n *Network) release(s *stream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.readers--; s.readers == 0 {
		s.ends[0].streams.Delete(s.ends[1].cfg.Session)
		s.ends[1].streams.Delete(s.ends[0].cfg.Session)
		n.broadcast()
	}
}
