package cajun

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/link"
)

// line is how a reader talks with the node of its actor.
type line struct {
	r    *reader
	peer *peer
	to   link.Peer
	id   uint64
	// heard is when the actor's node was last heard of, and silence looks whether
	// that is too long ago. credited and size are what the reader has taken since it
	// told. All are guarded by the reader's mutex.
	heard    time.Time
	silence  *time.Timer
	credited uint64
	size     int
}

// connect makes the reader one of a stream of another node. p.mu is held.
func (r *reader) connect(p *peer, id uint64) {
	l := &line{r: r, peer: p, id: id, to: r.n.linkPeer(p.session), heard: time.Now()}
	r.mu.Lock()
	r.line, r.open, r.consumed = l, true, 1
	l.silence = time.AfterFunc(streamSilence, l.listen)
	r.mu.Unlock()
	if p.reading == nil {
		p.reading = make(map[uint64]*reader)
	}
	p.reading[id] = r
}

// listen gives the stream up when nothing was heard for too long.
func (l *line) listen() {
	l.r.mu.Lock()
	left := streamSilence - time.Since(l.heard)
	if left > 0 && !l.r.closed {
		l.silence.Reset(left)
	}
	l.r.mu.Unlock()
	if left <= 0 {
		l.r.fail(lost("nothing was heard of the stream for %v: open it again", streamSilence))
	}
}

// hangUp ends the line with its reader.
func (l *line) hangUp() {
	l.r.mu.Lock()
	l.silence.Stop()
	l.r.mu.Unlock()
	l.peer.mu.Lock()
	_, open := l.peer.reading[l.id]
	delete(l.peer.reading, l.id)
	l.peer.mu.Unlock()
	if open {
		l.r.n.cancelStream(l.to, l.id)
	}
}

// credit tells the actor's node of what the reader has taken, once it is worth it.
func (l *line) credit(size int) {
	l.r.mu.Lock()
	l.size += size
	due := l.r.consumed-l.credited >= streamWindow/2 || l.size >= streamWindowBytes/2
	p := l.progress(0)
	if due {
		l.credited, l.size = l.r.consumed, 0
	}
	l.r.mu.Unlock()
	if due {
		l.tell(p)
	}
}

// progress is how far the reader is. The reader's mutex is held.
func (l *line) progress(probe uint64) link.Progress {
	return link.Progress{ID: l.id, Received: l.r.received, Consumed: l.r.consumed, Probe: probe}
}

// tell sends the reader's progress. If it is lost, a probe will ask for it.
func (l *line) tell(p link.Progress) {
	n := l.r.n
	n.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(n.ctx, cancelTimeout)
		defer cancel()
		_ = n.endpoint.Send(ctx, l.to, link.Frame{Progress: &p})
	})
}

// receive takes a part that has arrived, with the event that it has.
func (l *line) receive(f *link.Response, e event) {
	r := l.r
	r.mu.Lock()
	l.heard = time.Now()
	finished := false
	switch {
	case f.Probe != 0 || r.closed:
	case f.Part == r.received+1:
		r.accept(e)
	case f.Part > r.received && f.Part <= r.consumed+streamWindow+1:
		if r.early == nil {
			r.early = make(map[uint64]event)
		}
		r.early[f.Part] = e
	}
	if last := len(r.queue) - 1; last >= 0 && r.queue[last].last {
		finished = true
	}
	p := l.progress(f.Probe)
	r.mu.Unlock()
	signal(r.ready)
	if finished {
		// All is here: the other end need not keep anything.
		l.peer.mu.Lock()
		delete(l.peer.reading, l.id)
		l.peer.mu.Unlock()
	}
	if finished || f.Probe != 0 {
		l.tell(p)
	}
}

// receivePart hands a part of a stream to its reader.
func (n *Node) receivePart(p *peer, f *link.Response) {
	p.mu.Lock()
	r, opened := p.reading[f.ID], (*waiter)(nil)
	if w := p.pending[f.ID]; r == nil && w != nil && w.reader != nil {
		delete(p.pending, f.ID)
		r, opened = w.reader, w
		r.connect(p, f.ID)
	}
	p.mu.Unlock()
	if r == nil {
		n.cancelStream(n.linkPeer(p.session), f.ID) // nobody reads it any more
		return
	}
	if opened != nil {
		r.attach(r.line.hangUp)
		r.watch()
	}
	r.line.receive(f, r.decode(f))
	if opened != nil {
		opened.deliver(result{})
	}
}

// decode reads what a part has.
func (r *reader) decode(f *link.Response) event {
	switch {
	case f.Probe != 0 || f.Part == 1:
		return event{opening: true}
	case f.Last && f.Code != 0:
		return event{last: true, fail: failureOf(f)}
	case f.Last:
		return event{last: true}
	}
	m := r.spec.reply().New().Interface()
	if err := proto.Unmarshal(f.Payload, m); err != nil {
		return event{last: true, fail: unreadableReply(err)}
	}
	return event{message: m, size: len(f.Payload)}
}

// linkPeer is a session as the link knows it.
func (n *Node) linkPeer(session string) link.Peer {
	to := link.Peer{Session: session}
	if m, ok := n.view.Get(session); ok {
		to.Address = m.Address
	}
	return to
}
