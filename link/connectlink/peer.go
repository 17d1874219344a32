package connectlink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cajun-go/cajun/link"
)

// errReplaced ends a stream when the peer, which had dialed it, dials again.
var errReplaced = errors.New("connectlink: the peer opened a new stream")

// peer is another session, as long as there is a stream to it or someone who
// wants one.
type peer struct {
	endpoint *endpoint
	session  string
	users    int // guarded by endpoint.mu

	// best is the stream to send on, or nil.
	best atomic.Pointer[stream]

	mu sync.Mutex
	// streams holds at most one that this node dialed and one that the peer
	// did.
	streams []*stream
	// broken is set from the moment when a stream breaks until all are gone
	// and the receiver was told. No stream is added in the meantime, so that
	// PeerDown covers what was lost and nothing else.
	broken error
	// telling is set while the receiver is told.
	telling bool
	dialing *dial
	// changed is closed and replaced with each change of the above.
	changed chan struct{}
}

// dial is one attempt to open a stream, which all senders share.
type dial struct {
	err error // guarded by peer.mu; set when it has failed
}

// broadcast is called with p.mu held.
func (p *peer) broadcast() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// reach returns an open stream, dialing if need be. With insist set it does so
// even if the last attempt failed just now.
func (p *peer) reach(ctx context.Context, address string, insist bool) (*stream, error) {
	var mine *dial
	for {
		p.mu.Lock()
		if s := p.best.Load(); s != nil && !s.out.isClosed() {
			p.mu.Unlock()
			return s, nil
		}
		if mine != nil && mine.err != nil {
			p.mu.Unlock()
			return nil, mine.err
		}
		if len(p.streams) == 0 && !p.telling {
			if p.dialing == nil {
				if err := p.mayDial(address, insist); err != nil {
					p.mu.Unlock()
					return nil, err
				}
				d, err := p.endpoint.startDial(p, address)
				if err != nil {
					p.mu.Unlock()
					return nil, err
				}
				p.dialing = d
			}
			mine = p.dialing
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.endpoint.closing:
			return nil, link.ErrClosed
		}
	}
}

func (p *peer) mayDial(address string, insist bool) error {
	switch {
	case address == "":
		return link.ErrNoAddress
	case insist:
		return nil
	}
	return p.endpoint.failures.recent(p.session, address)
}

// dialed records how a dial ended.
func (p *peer) dialed(d *dial, address string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endpoint.failures.record(p.session, address, err)
	d.err = err
	p.dialing = nil
	p.broadcast()
}

// attach adds a stream. It waits until the streams before it are gone. After a
// nil error the caller runs the stream and detaches it.
func (p *peer) attach(ctx context.Context, s *stream) error {
	for {
		p.mu.Lock()
		select {
		case <-p.endpoint.closing:
			p.mu.Unlock()
			return link.ErrClosed
		default:
		}
		if p.broken == nil && !p.telling {
			old := p.sameDialer(s)
			if old == nil {
				p.add(s)
				p.mu.Unlock()
				return nil
			}
			p.failLocked(old, errReplaced)
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("connectlink: waiting for the end of the stream before: %w", ctx.Err())
		case <-p.endpoint.closing:
		}
	}
}

func (p *peer) sameDialer(s *stream) *stream {
	for _, old := range p.streams {
		if old.dialed == s.dialed {
			return old
		}
	}
	return nil
}

// add is called with p.mu held.
func (p *peer) add(s *stream) {
	p.streams = append(p.streams, s)
	// The side that was dialed adds a stream before it answers with its Hello.
	s.confirmed = s.dialed
	p.settle()
	p.broadcast() // for those who wait for an end of the ones before
}

// confirm notes that the peer, which dialed s, has added it.
func (p *peer) confirm(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.confirmed = true
	p.settle()
}

// settle chooses the stream to send on, with p.mu held. When both nodes have
// dialed, it ends the other stream. Only the dialer of a stream can end it
// without a loss, and only when the one that stays is known to both: otherwise
// the peer would take the end of its only stream for the end of this node.
func (p *peer) settle() {
	if p.broken != nil {
		return
	}
	var best *stream
	mine := p.endpoint.cfg.Session < p.session
	for _, s := range p.streams {
		if !s.out.isClosed() && (best == nil || s.dialed == mine) {
			best = s
		}
	}
	if p.best.Swap(best) != best {
		p.broadcast()
	}
	if best == nil || !best.confirmed {
		return
	}
	for _, other := range p.streams {
		if other != best && other.dialed {
			other.out.close(false)
		}
	}
}

// retire stops sending on a stream whose peer has ended it in order.
func (p *peer) retire(s *stream) {
	s.out.close(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
}

// lost notes that frames did not get through on a stream that the peer has
// ended in order. If it was the last one, PeerDown comes anyway.
func (p *peer) lost(s *stream, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.streams) > 1 {
		p.failLocked(s, err)
	}
}

// fail ends all streams because s broke.
func (p *peer) fail(s *stream, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failLocked(s, err)
}

func (p *peer) failLocked(s *stream, err error) {
	if p.broken != nil || !slices.Contains(p.streams, s) {
		return
	}
	p.broken = err
	p.best.Store(nil)
	for _, each := range p.streams {
		each.giveUp()
	}
	p.broadcast()
}

// detach removes a stream that has ended, and tells the receiver after the
// last one.
func (p *peer) detach(s *stream) {
	p.mu.Lock()
	p.streams = slices.DeleteFunc(p.streams, func(each *stream) bool { return each == s })
	p.settle()
	if len(p.streams) > 0 {
		p.broadcast()
		p.mu.Unlock()
		return
	}
	reason := p.broken
	p.telling = true
	p.mu.Unlock()
	if reason == nil {
		reason = errPeerClosed
	}
	p.endpoint.cfg.Receiver.PeerDown(p.session, reason)
	p.mu.Lock()
	p.broken, p.telling = nil, false
	p.broadcast()
	p.mu.Unlock()
}

// each calls f for each stream.
func (p *peer) each(f func(*stream)) {
	p.mu.Lock()
	streams := slices.Clone(p.streams)
	p.mu.Unlock()
	for _, s := range streams {
		f(s)
	}
}
