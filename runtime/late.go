package cajun

import (
	"bytes"
	"context"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
)

const (
	// respondTimeout bounds the sending of one late response. A link that has
	// lost a peer notices it much sooner.
	respondTimeout = 30 * time.Second
	// maxLate and maxLateBytes bound how many responses to one peer wait to be
	// sent: for room, for a stream, or for the end of a suspension. What is too
	// large loses its payload, and its caller is told.
	maxLate      = 64 << 10
	maxLateBytes = 32 << 20
)

// lateResponses are the responses to one peer that could not be sent at once, or
// that must not be sent from where they were made: a receiver must not block.
// One task at a time sends them; guarded by peer.mu.
type lateResponses struct {
	queue   []link.Response
	bytes   int
	sending bool
}

// refuseLater sends a failure from a task.
func (n *Node) refuseLater(to remoteCaller, f *failure) {
	frame := link.Response{ID: to.id}
	_ = fillResponse(&frame, result{fail: f}, nil) // failures need no encoding
	n.respondLater(to.peer, &frame)
}

// respondLater sends a response once the peer takes it: neither an actor nor a
// link stands still for one slow caller.
func (n *Node) respondLater(p *peer, frame *link.Response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, frame.ID)
	l := &p.late
	if len(l.queue) == maxLate {
		return // its caller is left to its deadline
	}
	kept := *frame
	if l.bytes+len(frame.Payload) > maxLateBytes {
		kept = link.Response{ID: frame.ID, Code: uint32(connect.CodeUnavailable), Outcome: guarantee.MaybeExecuted, Retryable: true,
			Message: "the actor has answered, but too many answers wait for the way to the caller's node: read answers faster, or ask for less"}
	}
	kept.Payload = bytes.Clone(kept.Payload)
	l.queue, l.bytes = append(l.queue, kept), l.bytes+len(kept.Payload)
	if !l.sending {
		l.sending = true
		n.tasks.Go(func() { n.sendLate(p) })
	}
}

// sendLate sends what waits, in order.
func (n *Node) sendLate(p *peer) {
	for n.untilActive() {
		p.mu.Lock()
		if len(p.late.queue) == 0 {
			p.late.queue, p.late.sending = nil, false
			p.mu.Unlock()
			return
		}
		frame := p.late.queue[0]
		p.late.queue = p.late.queue[1:]
		p.late.bytes -= len(frame.Payload)
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(n.ctx, respondTimeout)
		if err := n.sendResponse(ctx, p, &frame); err != nil {
			n.logger.Debug("a response could not be sent", "peer", p.session, "error", err)
		}
		cancel()
	}
}
