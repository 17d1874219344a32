package cajun

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
)

const (
	// firstProbe is how long a reader may take to tell of its progress before it is
	// asked, and what was lost on the way is sent again. The time doubles up to
	// lastProbe, so that many fit into streamSilence even if every other one is lost.
	// A reader that has taken everything is asked for a sign of life each idleProbe.
	firstProbe = 500 * time.Millisecond
	lastProbe  = 2 * time.Second
	idleProbe  = 5 * time.Second
	// soon bounds the sending of a stream's opening and of its end.
	soon = time.Second
)

// remoteOutlet is the way of a stream to a reader on another node. The link may lose
// frames, repeat them and change their order, so parts are numbered and kept until
// the reader has them.
type remoteOutlet struct {
	n    *Node
	feed *feed
	to   remoteCaller
	room chan struct{} // has a token when the reader has told of its progress

	mu sync.Mutex
	// kept are the parts after received, sent the number of the latest one.
	kept                     []*link.Response
	sent, received, consumed uint64
	// sizes are those of the parts after consumed, and bytes is their sum.
	sizes []int
	bytes int
	// probe is the number of the latest probe, which asked about the parts up to
	// asked.
	probe, asked uint64
	pause        time.Duration
	timer        *time.Timer
	heard        time.Time
	ended, gone  bool
}

func newRemoteOutlet(n *Node, to remoteCaller, f *feed) *remoteOutlet {
	return &remoteOutlet{n: n, feed: f, to: to, room: make(chan struct{}, 1), consumed: 1, pause: firstProbe}
}

// open implements outlet. From here on the reader's cancel ends the stream and not
// the turn. It is the turn that opens the stream, so nothing is sent here: the link
// may not take it at once.
func (o *remoteOutlet) open() {
	o.mu.Lock()
	o.heard = time.Now()
	o.timer = time.AfterFunc(o.pause, o.tick)
	o.add(&link.Response{}, 0)
	o.mu.Unlock()
	p := o.to.peer
	p.mu.Lock()
	delete(p.running, o.to.id)
	if p.feeding == nil {
		p.feeding = make(map[uint64]*remoteOutlet)
	}
	p.feeding[o.to.id] = o
	p.mu.Unlock()
}

// begin implements outlet.
func (o *remoteOutlet) begin() {
	o.mu.Lock()
	var opening *link.Response
	if len(o.kept) > 0 {
		opening = o.kept[0]
	}
	o.mu.Unlock()
	if opening != nil {
		o.sendSoon(opening)
	}
}

// add makes a response the next part, of so many bytes. o.mu is held.
func (o *remoteOutlet) add(frame *link.Response, size int) *link.Response {
	o.sent++
	frame.ID, frame.Part = o.to.id, o.sent
	o.kept = append(o.kept, frame)
	if o.sent > o.consumed {
		o.sizes = append(o.sizes, size)
		o.bytes += size
	}
	return frame
}

// put implements outlet.
func (o *remoteOutlet) put(ctx context.Context, message proto.Message, size int) *failure {
	payload, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 0, size), message)
	if err != nil {
		f := refuse(connect.CodeInternal, "an event of %s cannot be encoded: %v", o.feed.spec.path(), err)
		f.outcome = guarantee.MaybeExecuted
		return f
	}
	for {
		o.mu.Lock()
		if o.ended {
			o.mu.Unlock()
			return o.feed.over() // not nil now
		}
		if hasRoom(len(o.sizes), o.bytes, size) {
			frame := o.add(&link.Response{Payload: payload}, size)
			o.mu.Unlock()
			o.send(ctx, frame)
			return nil
		}
		o.mu.Unlock()
		select {
		case <-o.room:
		case <-ctx.Done():
			return o.feed.over() // not nil now
		}
	}
}

// end implements outlet.
func (o *remoteOutlet) end(f *failure) {
	frame := &link.Response{Last: true}
	if f != nil {
		_ = fillResponse(frame, result{fail: f}, nil) // failures need no encoding
	}
	o.mu.Lock()
	if o.gone {
		o.mu.Unlock()
		return
	}
	o.ended, o.pause = true, firstProbe
	o.add(frame, 0)
	o.timer.Reset(o.pause)
	o.mu.Unlock()
	o.sendSoon(frame)
}

// sendSoon sends what the reader is to know even if the stream or the node has ended
// meanwhile, unless that takes too long.
func (o *remoteOutlet) sendSoon(frame *link.Response) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.n.ctx), soon)
	defer cancel()
	o.send(ctx, frame)
}

// send hands a part to the link. One that does not get through is asked for by the
// reader, in its answer to a probe.
func (o *remoteOutlet) send(ctx context.Context, frame *link.Response) {
	if err := o.n.sendResponse(ctx, o.to.peer, frame); err != nil {
		o.n.logger.Debug("a part of a stream could not be sent", "peer", o.to.peer.session, "error", err)
	}
}

// progress takes what the reader tells.
func (o *remoteOutlet) progress(p link.Progress) {
	o.mu.Lock()
	if o.gone {
		o.mu.Unlock()
		return
	}
	o.heard = time.Now()
	if p.Received <= o.sent {
		for ; o.received < p.Received; o.received++ {
			dequeue(&o.kept)
		}
	}
	for ; o.consumed < p.Consumed && len(o.sizes) > 0; o.consumed++ {
		o.bytes -= dequeue(&o.sizes)
		o.pause = firstProbe
	}
	var again []*link.Response
	if p.Probe != 0 && p.Probe == o.probe {
		for _, frame := range o.kept {
			if frame.Part <= o.asked {
				again = append(again, frame)
			}
		}
	}
	done := o.ended && o.received == o.sent
	o.mu.Unlock()
	signal(o.room)
	if done {
		o.leave()
		return
	}
	if len(again) > 0 {
		o.n.tasks.Go(func() {
			ctx, cancel := context.WithTimeout(o.n.ctx, lastProbe)
			defer cancel()
			for _, frame := range again {
				o.send(ctx, frame)
			}
		})
	}
}

// tick asks the reader for its progress, or gives it up when it has been silent for
// too long.
func (o *remoteOutlet) tick() {
	o.mu.Lock()
	if o.gone {
		o.mu.Unlock()
		return
	}
	if time.Since(o.heard) >= streamSilence {
		o.mu.Unlock()
		o.leave()
		return
	}
	o.probe++
	o.asked = o.sent
	pause := idleProbe
	if len(o.kept)+len(o.sizes) > 0 {
		pause = o.pause
		o.pause = min(2*o.pause, lastProbe)
	}
	o.timer.Reset(pause)
	frame := &link.Response{ID: o.to.id, Part: o.sent, Probe: o.probe}
	o.mu.Unlock()
	o.n.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(o.n.ctx, pause)
		defer cancel()
		o.send(ctx, frame)
	})
}

// doubt has the reader asked soon for what it may not have got, as the link has broken.
func (o *remoteOutlet) doubt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.gone && len(o.kept) > 0 {
		o.pause = firstProbe
		o.timer.Reset(o.pause)
	}
}

// leave forgets the reader: it has everything, has left, or is silent.
func (o *remoteOutlet) leave() {
	o.mu.Lock()
	o.gone = true
	o.kept = nil
	o.timer.Stop()
	o.mu.Unlock()
	o.to.peer.mu.Lock()
	delete(o.to.peer.feeding, o.to.id)
	o.to.peer.mu.Unlock()
	o.feed.cancel(errUnread)
}
