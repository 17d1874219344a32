package memlink

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cajun-go/cajun/link"
)

// endpoint is one node's end of the network.
type endpoint struct {
	network         *Network
	cfg             link.Config
	number          uint64 // its place in the order of opening
	listen, address string // empty for nodes that only call
	streams         sync.Map
	paused          atomic.Bool
	stopped         chan struct{} // closed with removed
	removed         bool          // guarded by network.mu
	wg              sync.WaitGroup
}

func (e *endpoint) Address() string { return e.address }

func (e *endpoint) names() []string { return []string{e.cfg.Session, e.listen, e.address} }

func (e *endpoint) Send(ctx context.Context, to link.Peer, f link.Frame) error {
	if err := f.Check(e.cfg.MaxMessage); err != nil {
		return err
	}
	for {
		if err := e.mayRun(ctx); err != nil {
			return err
		}
		s := e.open(to.Session)
		if s == nil {
			var err error
			if s, err = e.reach(ctx, to, false); err != nil {
				return err
			}
		}
		in := s.to(to.Session)
		if len(payload(&f)) > in.owner.cfg.MaxMessage {
			return fmt.Errorf("%w: the peer takes %d payload bytes", link.ErrTooLarge, in.owner.cfg.MaxMessage)
		}
		if err := in.put(ctx, &f); err != errEnded {
			return err
		}
	}
}

func (e *endpoint) Probe(ctx context.Context, to link.Peer) error {
	if err := e.mayRun(ctx); err != nil {
		return err
	}
	_, err := e.reach(ctx, to, true)
	return err
}

func (e *endpoint) Connected(session string) bool { return e.open(session) != nil }

func (e *endpoint) Close() error {
	n := e.network
	n.mu.Lock()
	n.remove(e, errPeerClosed, false)
	n.mu.Unlock()
	e.wg.Wait()
	return nil
}

// open returns the stream to a session, or nil when none is open.
func (e *endpoint) open(session string) *stream {
	v, ok := e.streams.Load(session)
	if !ok {
		return nil
	}
	if s := v.(*stream); !s.ended.Load() {
		return s
	}
	return nil
}

// allStreams includes those that have ended and of which a side was not yet
// told.
func (e *endpoint) allStreams() (all []*stream) {
	e.streams.Range(func(_, v any) bool {
		all = append(all, v.(*stream))
		return true
	})
	return all
}

// mayRun waits while the node is paused.
func (e *endpoint) mayRun(ctx context.Context) error {
	for {
		select {
		case <-e.stopped:
			return link.ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !e.paused.Load() {
			return nil
		}
		e.network.mu.Lock()
		changed, paused := e.network.changed, e.paused.Load()
		e.network.mu.Unlock()
		if !paused {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-e.stopped:
		}
	}
}

// reach returns an open stream to the peer, making one if need be. With awake
// set it also waits until the peer could answer.
func (e *endpoint) reach(ctx context.Context, to link.Peer, awake bool) (*stream, error) {
	if to.Session == e.cfg.Session {
		return nil, fmt.Errorf("memlink: the session %q cannot dial itself", to.Session)
	}
	giveUp := time.NewTimer(DialTimeout)
	defer giveUp.Stop()
	for {
		e.network.mu.Lock()
		s, err := e.tryReach(to, awake)
		changed := e.network.changed
		e.network.mu.Unlock()
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-changed:
		case <-e.stopped:
			return nil, link.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-giveUp.C:
			return nil, fmt.Errorf("memlink: no answer from %q at %q within %v: %w",
				to.Session, to.Address, DialTimeout, context.DeadlineExceeded)
		}
	}
}

// tryReach is one attempt, with network.mu held. It returns neither a stream
// nor an error when there is nothing but silence.
func (e *endpoint) tryReach(to link.Peer, awake bool) (*stream, error) {
	n := e.network
	if e.removed {
		return nil, link.ErrClosed
	}
	if s := e.open(to.Session); s != nil {
		if awake && (s.severed.Load() || s.to(to.Session).owner.paused.Load()) {
			return nil, nil
		}
		return s, nil
	}
	if to.Address == "" {
		return nil, link.ErrNoAddress
	}
	peer := n.addresses[to.Address]
	names := []string{to.Session, to.Address}
	if peer != nil {
		names = append(names, peer.names()...)
	}
	switch {
	case n.isCut(e, names):
		return nil, nil
	case peer == nil:
		return nil, fmt.Errorf("%w: %q", link.ErrRefused, to.Address)
	case peer.paused.Load():
		return nil, nil
	case peer.cfg.Cluster != e.cfg.Cluster:
		return nil, fmt.Errorf("%w: %q belongs to the cluster %q, this node to %q",
			link.ErrWrongPeer, to.Address, peer.cfg.Cluster, e.cfg.Cluster)
	case peer.cfg.Session != to.Session:
		return nil, fmt.Errorf("%w: %q, not %q, is at %q",
			link.ErrWrongPeer, peer.cfg.Session, to.Session, to.Address)
	}
	if _, ending := e.streams.Load(to.Session); ending {
		return nil, nil
	}
	return n.connect(e, peer), nil
}

func payload(f *link.Frame) []byte {
	switch {
	case f.Request != nil:
		return f.Request.Payload
	case f.Response != nil:
		return f.Response.Payload
	}
	return nil
}
