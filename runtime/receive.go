package cajun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/state"
)

const (
	// respondPromptly is how long an actor waits to send a response itself.
	respondPromptly = 2 * time.Millisecond
	// claimTimeout bounds a claim that another node asked for.
	claimTimeout = 5 * time.Second
	// maxClaims bounds how many such claims wait at once.
	maxClaims = 4096
)

// receiver is the node's side towards the link.
type receiver struct{ n *Node }

// Receive implements link.Receiver.
func (r receiver) Receive(from string, f link.Frame) {
	p := r.n.peer(from)
	switch {
	case f.Response != nil:
		r.n.receiveResponse(p, f.Response)
	case f.Request != nil:
		r.n.receiveRequest(p, f.Request)
	case f.Cancel != nil:
		p.mu.Lock()
		c, o := p.running[f.Cancel.ID], p.feeding[f.Cancel.ID]
		delete(p.running, f.Cancel.ID)
		p.mu.Unlock()
		if c != nil {
			c.cancel()
		}
		if o != nil {
			o.leave()
		}
	case f.Progress != nil:
		p.mu.Lock()
		o := p.feeding[f.Progress.ID]
		p.mu.Unlock()
		if o != nil {
			o.progress(*f.Progress)
		}
	}
}

// PeerDown implements link.Receiver.
func (r receiver) PeerDown(session string, err error) {
	r.n.peersMu.RLock()
	p := r.n.peers[session]
	r.n.peersMu.RUnlock()
	if p != nil {
		p.fail("the connection to the actor's node broke before it answered")
	}
	r.n.leader.Suspect(session)
}

func (n *Node) receiveResponse(p *peer, r *link.Response) {
	if r.Part > 0 {
		n.receivePart(p, r)
		return
	}
	w, ok := p.take(r.ID)
	if !ok {
		return // its caller has left, or it arrived twice
	}
	if r.Code == 0 {
		if w.reply == nil {
			w.deliver(result{replayed: r.Replayed})
			return
		}
		m := w.reply().New().Interface()
		if err := proto.Unmarshal(r.Payload, m); err != nil {
			f := unreadableReply(err)
			w.deliver(result{fail: f})
			return
		}
		w.deliver(result{message: m, replayed: r.Replayed})
		return
	}
	w.deliver(result{fail: failureOf(r), replayed: r.Replayed})
}

// failureOf is the failure that a response tells of.
func failureOf(r *link.Response) *failure {
	f := &failure{code: connect.Code(r.Code), message: r.Message, outcome: r.Outcome, retryable: r.Retryable, internalText: r.InternalText}
	for _, d := range r.Details {
		f.details = append(f.details, &connect.ErrorDetail{Type: d.Type, Value: append([]byte(nil), d.Value...)})
	}
	if r.Redirect != nil {
		copied := *r.Redirect
		f.redirect = &copied
	}
	return f
}

// receiveRequest admits a request or says at once why not.
func (n *Node) receiveRequest(p *peer, r *link.Request) {
	p.mu.Lock()
	fresh := p.seen.Admit(r.ID)
	p.mu.Unlock()
	if !fresh {
		return
	}
	to := remoteCaller{peer: p, id: r.ID}
	if n.session.Check() != nil || n.closed() {
		if !r.OneWay {
			// If the node turns out to be alive after all, callers who cannot repeat
			// their calls must not wait for their deadlines.
			n.refuseLater(to, unavailable("the actor's node was suspended when the call arrived"))
		}
		return
	}
	if r.Method == "" {
		n.claimFor(to, state.Shard{Kind: r.Kind, Number: r.Shard})
		return
	}
	c, s, fail := n.admitRequest(p, r)
	if fail == nil {
		if !r.OneWay {
			c.remote = to
			p.mu.Lock()
			p.running[r.ID] = c
			p.mu.Unlock()
		}
		fail = s.deliver(r.Key, c)
	}
	if fail != nil && !r.OneWay {
		n.refuseLater(to, fail)
	}
}

// untilActive waits while this node is suspended. It reports false when the
// node's session is over.
func (n *Node) untilActive() bool {
	for {
		state, changed := n.session.State()
		switch state.Phase {
		case member.Active:
			return true
		case member.Suspended:
			select {
			case <-changed:
			case <-n.ctx.Done():
				return false
			}
		default:
			return false
		}
	}
}

// admitRequest finds the shard that is to run a request and reads it.
func (n *Node) admitRequest(p *peer, r *link.Request) (*call, *shard, *failure) {
	h, ok := n.hosted[r.Kind]
	if !ok || int(r.Shard) >= h.shards.len() {
		return nil, nil, refuse(connect.CodeFailedPrecondition, "node %s does not host shard %d of %s", n.Name(), r.Shard, r.Kind)
	}
	s := h.shards.get(r.Shard)
	if s == nil || s.epoch != r.Epoch {
		return nil, nil, n.notOwner(r.Kind, r.Shard)
	}
	var errand link.Errand
	if r.Errand != nil {
		errand = *r.Errand
	}
	m, fail := h.methodFor(r.Kind, r.Method, wanted(r), errand.Task)
	if fail != nil {
		return nil, nil, fail
	}
	if fail := checkKey(r.Kind, r.Key); fail != nil {
		return nil, nil, fail
	}
	c := &call{method: m, level: r.Level, id: r.Call, watermark: r.Watermark, repeat: r.Repeat, peer: p.session, headers: headerMap(r.Headers), hops: r.Hops, errand: errand}
	if c.id.Session == "" && c.id.Sequence != 0 {
		c.id.Session = p.session
	}
	if c.level == guarantee.ExactlyOnce && c.id.IsZero() {
		return nil, nil, refuse(connect.CodeInvalidArgument, "an EXACTLY_ONCE call came without a call ID")
	}
	if r.Timeout > 0 {
		c.turn.deadline = time.Now().Add(r.Timeout)
	}
	if r.StreamTimeout > 0 {
		c.opens = &opening{deadline: time.Now().Add(r.StreamTimeout)}
	}
	for _, below := range r.OpenBelow {
		c.open = append(c.open, r.Watermark-below)
	}
	slices.Sort(c.open)
	c.chain, c.nested = append(c.chain, r.Chain...), len(r.Chain) > 0
	c.req = m.newRequest()
	if err := proto.Unmarshal(r.Payload, c.req); err != nil {
		return nil, nil, refuse(connect.CodeInvalidArgument, "the request of %s cannot be read: %v", m.spec.path(), err)
	}
	fillKeyField(m.spec, r.Key, c.req)
	return c, s, nil
}

// wanted is what the sender of a request takes the method for.
func wanted(r *link.Request) shape {
	switch {
	case r.OneWay:
		return shapeOneWay
	case r.Stream:
		return shapeStream
	}
	return shapeReply
}

// claimFor takes a shard because another node asked who has it, and tells.
func (n *Node) claimFor(to remoteCaller, id state.Shard) {
	if n.claims.Add(1) > maxClaims {
		n.claims.Add(-1)
		return // the caller asks again
	}
	n.tasks.Go(func() {
		defer n.claims.Add(-1)
		ctx, cancel := context.WithTimeout(n.ctx, claimTimeout)
		defer cancel()
		rec, err := n.manager.Claim(ctx, id)
		if err != nil {
			n.respond(to, result{fail: unavailable("node %s could not take the actor's shard: %v", n.Name(), err)})
			return
		}
		f := unavailable("the actor's shard was just taken by a node")
		f.redirect = &link.Redirect{Owner: rec.Owner, Epoch: rec.Epoch, Target: rec.Target}
		n.respond(to, result{fail: f})
	})
}

// respond sends a turn's result to its remote caller. A response that cannot
// be sent is lost, which the caller notices by the broken connection.
func (n *Node) respond(to remoteCaller, r result) {
	to.peer.mu.Lock()
	delete(to.peer.running, to.id)
	to.peer.mu.Unlock()
	if !n.untilActive() {
		return
	}
	buffer := n.buffers.Get().(*[]byte)
	defer n.buffers.Put(buffer)
	frame := n.responses.Get().(*link.Response)
	defer n.responses.Put(frame)
	*frame = link.Response{ID: to.id}
	if err := fillResponse(frame, r, buffer); err != nil {
		frame = unsendable(frame, err)
	}
	ctx := &deadlineContext{Context: n.ctx, deadline: time.Now().Add(respondPromptly)}
	defer ctx.release()
	if err := n.sendResponse(ctx, to.peer, frame); err != nil && ctx.Err() != nil && n.ctx.Err() == nil {
		n.respondLater(to.peer, frame)
	}
}

func (n *Node) sendResponse(ctx context.Context, p *peer, frame *link.Response) error {
	to := n.linkPeer(p.session)
	err := n.endpoint.Send(ctx, to, link.Frame{Response: frame})
	if errors.Is(err, link.ErrTooLarge) || errors.Is(err, link.ErrMalformed) {
		err = n.endpoint.Send(ctx, to, link.Frame{Response: unsendable(frame, err)})
	}
	return err
}

// unsendable stands in for a response that the link does not take, so that its
// caller does not wait in vain.
func unsendable(frame *link.Response, why error) *link.Response {
	instead := &link.Response{ID: frame.ID, Code: uint32(connect.CodeInternal), Outcome: guarantee.MaybeExecuted, Part: frame.Part, Last: frame.Part > 0}
	what := "reply"
	if frame.Code != 0 {
		what = "error"
		instead.Code, instead.Outcome = frame.Code, frame.Outcome
	}
	instead.Message = strings.ToValidUTF8(fmt.Sprintf("the actor's %s cannot be sent: %v", what, why), "?")
	return instead
}

func fillResponse(frame *link.Response, r result, buffer *[]byte) error {
	frame.Replayed = r.replayed
	switch f := r.fail; {
	case f != nil:
		frame.Code, frame.Message, frame.Outcome = uint32(f.code), f.message, f.outcome
		frame.Retryable, frame.InternalText, frame.Redirect = f.retryable, f.internalText, f.redirect
		for _, d := range f.details {
			frame.Details = append(frame.Details, link.Detail{Type: d.Type, Value: d.Value})
		}
	case r.stored:
		frame.Payload = r.payload
	case r.message != nil:
		b, err := proto.MarshalOptions{}.MarshalAppend((*buffer)[:0], r.message)
		if err != nil {
			return err
		}
		*buffer = b
		frame.Payload = b
	}
	return nil
}
