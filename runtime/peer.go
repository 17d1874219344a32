package cajun

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/member"
)

const (
	// firstSilence is how long a call above AT_MOST_ONCE waits for an answer
	// before it is sent again; the time doubles up to maxSilence. The receiver
	// joins a repeat to the call that it repeats, so a slow handler costs a few
	// frames and not a second run.
	firstSilence = 500 * time.Millisecond
	maxSilence   = 8 * time.Second
	// cancelTimeout bounds the sending of a cancel.
	cancelTimeout = time.Second
)

// peer is what this node knows of its exchange with one other session.
type peer struct {
	session string

	mu   sync.Mutex
	last uint64 // the latest frame ID that was given out
	// pending are the requests to the peer that wait for a response.
	pending map[uint64]*waiter
	// seen recognises frames of the peer that arrive again.
	seen link.Window
	// running are the peer's requests that are here, for its cancels.
	running map[uint64]*call
	// reading are the streams of the peer's actors that are read here, and feeding
	// those that go to it, both by the ID of the request that has opened them.
	reading map[uint64]*reader
	feeding map[uint64]*remoteOutlet
	// gone says that the session has ended and that nothing comes from it.
	gone bool
	late lateResponses
}

// Number implements link.Numberer: it returns the ID of the next request and
// registers who waits for the response to it.
func (w *waiter) Number() uint64 {
	w.peer.mu.Lock()
	defer w.peer.mu.Unlock()
	w.peer.last++
	w.peer.pending[w.peer.last] = w
	return w.peer.last
}

// Number implements link.Numberer for requests whose responses nobody waits
// for.
func (p *peer) Number() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	return p.last
}

// take removes who waits for a response. Whoever gets it must deliver to it,
// or own it as its waiting caller.
func (p *peer) take(id uint64) (*waiter, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, ok := p.pending[id]
	delete(p.pending, id)
	return w, ok
}

// leave marks the peer as gone, and isGone tells of it.
func (p *peer) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
}

func (p *peer) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// fail ends every pending request: no response can be relied on any more. Open
// streams ask for what was lost.
func (p *peer) fail(why string) {
	p.mu.Lock()
	all := p.pending
	p.pending = make(map[uint64]*waiter)
	outlets := slices.Collect(maps.Values(p.feeding))
	p.mu.Unlock()
	for _, w := range all {
		w.deliver(result{fail: lost("%s", why)})
	}
	for _, o := range outlets {
		o.doubt()
	}
}

// end ends every stream from or to the peer, whose session is over.
func (p *peer) end(why string) {
	p.mu.Lock()
	readers, outlets := slices.Collect(maps.Values(p.reading)), slices.Collect(maps.Values(p.feeding))
	p.mu.Unlock()
	for _, r := range readers {
		r.fail(lost("%s", why))
	}
	for _, o := range outlets {
		o.leave()
	}
}

// peer returns the exchange with a session.
func (n *Node) peer(session string) *peer {
	n.peersMu.RLock()
	p := n.peers[session]
	n.peersMu.RUnlock()
	if p != nil {
		return p
	}
	n.peersMu.Lock()
	defer n.peersMu.Unlock()
	if p = n.peers[session]; p == nil {
		p = &peer{session: session, pending: make(map[uint64]*waiter), running: make(map[uint64]*call)}
		n.peers[session] = p
	}
	return p
}

// callRemote makes an attempt at an actor of another node.
func (n *Node) callRemote(ctx context.Context, o *outgoing, to member.Member, epoch uint64, req proto.Message) (proto.Message, *failure) {
	frame := n.requests.Get().(*link.Request)
	defer n.requests.Put(frame)
	*frame = link.Request{
		Kind: o.identity, Key: o.key, Method: o.spec.name, Shard: o.shard, Epoch: epoch,
		Level: o.level, OneWay: o.isOneWay(), Repeat: o.repeats(), Chain: o.chain, Call: o.id, Hops: o.hops, Stream: o.spec.streams,
	}
	if !o.streamDeadline.IsZero() {
		frame.StreamTimeout = max(1, time.Until(o.streamDeadline))
	}
	if o.errand.Task != link.TaskCall {
		errand := o.errand
		frame.Errand = &errand
	}
	if o.id.Session == n.ID() {
		frame.Call.Session = "" // the receiver knows who sends
	}
	watermark, open := o.progress()
	frame.Watermark = watermark
	for _, s := range open {
		frame.OpenBelow = append(frame.OpenBelow, watermark-s)
	}
	for k, v := range o.headers {
		frame.Headers = append(frame.Headers, link.Header{Key: k, Value: v})
	}
	buffer := n.buffers.Get().(*[]byte)
	defer n.buffers.Put(buffer)
	payload, err := o.encode((*buffer)[:0], req)
	if err != nil {
		return nil, refuse(connect.CodeInvalidArgument, "the request of %s cannot be encoded: %v", o.spec.path(), err)
	}
	*buffer = payload
	if len(payload) > n.config.maxMessage {
		return nil, tooLarge(o.spec, len(payload), n.config.maxMessage)
	}
	frame.Payload = payload
	return n.exchange(ctx, o, to, frame, o.spec.reply)
}

// isOneWay reports whether nobody waits for an answer.
func (o *outgoing) isOneWay() bool { return o.spec.oneWay && o.errand.Task == link.TaskCall }

// encode appends the encoded request to b.
func (o *outgoing) encode(b []byte, req proto.Message) ([]byte, error) {
	if o.isRaw {
		return append(b, o.raw...), nil
	}
	return proto.MarshalOptions{}.MarshalAppend(b, req)
}

// exchange sends a request and waits for its response.
func (n *Node) exchange(ctx context.Context, o *outgoing, to member.Member, frame *link.Request, reply func() protoreflect.MessageType) (proto.Message, *failure) {
	p := n.peer(to.Session)
	if frame.Timeout = time.Until(o.deadline); frame.Timeout <= 0 {
		return nil, interrupted(context.DeadlineExceeded, guarantee.NotExecuted, "before the call could be sent to node "+to.Name)
	}
	if frame.OneWay {
		return nil, n.send(ctx, o, to, link.Frame{Request: frame, Number: p})
	}
	w := n.waiters.Get().(*waiter)
	w.peer, w.reply, w.reader = p, reply, o.reader
	if fail := n.send(ctx, o, to, link.Frame{Request: frame, Number: w}); fail != nil {
		n.release(w)
		return nil, fail
	}
	if p.isGone() {
		// It left while the request was on its way into the link: nobody would
		// tell this call of the end.
		if _, mine := p.take(frame.ID); mine {
			n.release(w)
			return nil, lost("node %s left the cluster before it answered", to.Name)
		}
	}
	// Asking who has a shard is safe to repeat at every level. The last attempt
	// that a call may make waits as long as the caller does.
	resend := frame.Method == "" || o.level > guarantee.AtMostOnce && o.spec.opts.Retry.Allows(o.tries+2)
	cause := w.waitRemote(ctx, o, resend)
	if cause == nil {
		r := w.result
		n.release(w)
		o.replayed = r.replayed
		return r.message, r.fail
	}
	if _, mine := p.take(frame.ID); !mine {
		<-w.ready // it was being delivered
		r := w.result
		n.release(w)
		o.replayed = r.replayed
		return r.message, r.fail
	}
	n.release(w)
	if errors.Is(cause, errSilence) {
		return nil, lost("node %s did not answer yet", to.Name)
	}
	if !errors.Is(cause, context.DeadlineExceeded) { // of which the receiver knows
		n.cancelRemote(to, frame.ID)
	}
	return nil, interrupted(cause, guarantee.MaybeExecuted, "while the actor's node "+to.Name+" was at it")
}

// errSilence ends the wait for an answer that is long overdue.
var errSilence = errors.New("cajun: no answer yet")

// waitRemote waits like wait, but for what may be sent again not longer than an
// answer usually takes: the request or its answer may have been lost.
func (w *waiter) waitRemote(ctx context.Context, o *outgoing, resend bool) error {
	if !resend && o.until.IsZero() {
		return w.wait(ctx, o)
	}
	left := o.left() + o.grace
	silence := min(firstSilence<<min(o.tries, 10), maxSilence)
	expired, cause := w.await(ctx, min(left, silence))
	switch {
	case !expired:
		return cause
	case left <= silence:
		return context.DeadlineExceeded
	}
	return errSilence
}

// send hands a request to the link. A failure means that it was not sent.
func (n *Node) send(ctx context.Context, o *outgoing, to member.Member, frame link.Frame) *failure {
	bounded := o.bounded(ctx)
	err := n.endpoint.Send(bounded, link.Peer{Session: to.Session, Address: to.Address}, frame)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, link.ErrTooLarge):
		return tooLarge(o.spec, len(frame.Request.Payload), n.config.maxMessage)
	case errors.Is(err, link.ErrMalformed):
		return refuse(connect.CodeInvalidArgument, "the call of %s cannot be sent: %v", o.spec.path(), err)
	case bounded.Err() != nil:
		return interrupted(causeOf(bounded), guarantee.NotExecuted, "before the call could be sent to node "+to.Name)
	}
	return unavailable("node %s cannot be reached: %v", to.Name, err).because(err)
}

// cancelRemote tells a node that nobody waits for a request any more.
func (n *Node) cancelRemote(to member.Member, id uint64) {
	n.cancelStream(link.Peer{Session: to.Session, Address: to.Address}, id)
}

// cancelStream tells a node that nobody reads what a request has opened.
func (n *Node) cancelStream(to link.Peer, id uint64) {
	n.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(n.ctx, cancelTimeout)
		defer cancel()
		_ = n.endpoint.Send(ctx, to, link.Frame{Cancel: &link.Cancel{ID: id}})
	})
}
