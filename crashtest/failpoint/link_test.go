//go:build unix

package failpoint

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cajun-go/cajun/link"
)

// watchedTransport is a transport with points around what is sent and received,
// which gives some requests to the node twice, and some of these late.
type watchedTransport struct {
	link.Transport
	trap *trap
	// repeats is the part of the requests that arrive twice.
	repeats float64
}

// Open implements link.Transport.
func (t *watchedTransport) Open(ctx context.Context, cfg link.Config) (link.Endpoint, error) {
	e := &watchedEndpoint{transport: t, trap: t.trap, receiver: cfg.Receiver,
		deliveries: make(map[frameID]bool), marks: make(map[conversation]uint64)}
	cfg.Receiver = e
	var err error
	if e.Endpoint, err = t.Transport.Open(ctx, cfg); err != nil {
		return nil, err
	}
	return e, nil
}

// watchedEndpoint is both sides of one node's end of the link.
type watchedEndpoint struct {
	link.Endpoint
	transport *watchedTransport
	trap      *trap
	receiver  link.Receiver

	mu sync.Mutex
	// deliveries are requests on their way that deliver a message.
	deliveries map[frameID]bool
	// marks are the highest watermarks that were sent and received.
	marks map[conversation]uint64
	// late is a request that will arrive again.
	late     *link.Request
	lateFrom string
}

type frameID struct {
	peer string
	id   uint64
}

// conversation is that of one caller with one actor, as seen here: peer is
// empty for what is sent.
type conversation struct{ peer, caller, kind, key string }

// Send implements link.Endpoint.
func (e *watchedEndpoint) Send(ctx context.Context, to link.Peer, f link.Frame) error {
	var names []string
	switch {
	case f.Response != nil:
		names = append(names, "reply")
	case f.Request != nil:
		if errand := f.Request.Errand; errand != nil && errand.Task == link.TaskDeliver {
			names = append(names, "message")
			if f.Number != nil {
				f.Number = noted{f.Number, e, to.Session}
			}
		}
		if e.advances("", f.Request) {
			names = append(names, "watermark")
		}
	}
	for _, name := range names {
		e.trap.at(name + ".before")
	}
	if err := e.Endpoint.Send(ctx, to, f); err != nil {
		return err
	}
	for _, name := range names {
		e.trap.at(name + ".after")
	}
	return nil
}

// noted remembers the number of a request that delivers a message.
type noted struct {
	link.Numberer
	e    *watchedEndpoint
	peer string
}

// Number implements link.Numberer.
func (n noted) Number() uint64 {
	id := n.Numberer.Number()
	n.e.mu.Lock()
	defer n.e.mu.Unlock()
	n.e.deliveries[frameID{n.peer, id}] = true
	return id
}

// advances reports whether a request has a higher watermark than those before.
func (e *watchedEndpoint) advances(peer string, r *link.Request) bool {
	if r.Watermark == 0 {
		return false
	}
	c := conversation{peer, r.Call.Session, r.Kind, r.Key}
	e.mu.Lock()
	defer e.mu.Unlock()
	last, known := e.marks[c]
	if r.Watermark > last {
		e.marks[c] = r.Watermark
	}
	return known && r.Watermark > last
}

// Receive implements link.Receiver.
func (e *watchedEndpoint) Receive(from string, f link.Frame) {
	name := ""
	switch {
	case f.Response != nil && e.delivered(frameID{from, f.Response.ID}):
		name = "delivery"
	case f.Request != nil && e.advances(from, f.Request):
		name = "watermark"
	}
	if name != "" {
		e.trap.at(name + ".before")
	}
	e.receiver.Receive(from, f)
	if name != "" {
		e.trap.at(name + ".after")
	}
	if f.Request != nil && rand.Float64() < e.transport.repeats {
		e.repeat(from, f.Request)
	}
}

func (e *watchedEndpoint) delivered(id frameID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.deliveries[id]
	delete(e.deliveries, id)
	return was
}

// repeat gives the node a request again: this one, and now and then the one that
// was kept for later.
func (e *watchedEndpoint) repeat(from string, r *link.Request) {
	e.receiver.Receive(from, link.Frame{Request: cloned(r)})
	e.mu.Lock()
	late, lateFrom := e.late, e.lateFrom
	e.late, e.lateFrom = cloned(r), from
	e.mu.Unlock()
	if late != nil {
		e.receiver.Receive(lateFrom, link.Frame{Request: late})
	}
}

// cloned copies a request, which is the link's own.
func cloned(r *link.Request) *link.Request {
	c := *r
	c.Chain, c.Headers, c.Payload = slices.Clone(r.Chain), slices.Clone(r.Headers), slices.Clone(r.Payload)
	if r.Errand != nil {
		errand := *r.Errand
		c.Errand = &errand
	}
	return &c
}

// PeerDown implements link.Receiver.
func (e *watchedEndpoint) PeerDown(session string, err error) { e.receiver.PeerDown(session, err) }
