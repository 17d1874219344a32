package cajun

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
)

const (
	// streamWindow and streamWindowBytes bound what is under way between an actor and
	// a reader that has not taken it yet. A single event may be larger.
	streamWindow      = 64
	streamWindowBytes = 1 << 20
	// streamSilence is how long either end of a stream waits for a sign of life of the
	// other before it gives the stream up.
	streamSilence = 30 * time.Second
)

// reader is a stream where it is read. What arrives waits here until the caller
// takes it; the other end knows how much room there is.
type reader struct {
	n     *Node
	spec  *methodSpec
	ctx   context.Context // the caller's
	ready chan struct{}   // has a token when there may be something for the caller
	room  chan struct{}   // has one when the caller has taken something

	mu    sync.Mutex
	queue []event
	bytes int
	// received counts what has arrived in order, the opening included, and consumed
	// what the caller has taken of it; early is what has overtaken something.
	received, consumed uint64
	early              map[uint64]event
	// open says that the actor's node has opened the stream.
	open, begun, closed bool
	// failed is why nothing comes any more although no end has arrived.
	failed *failure
	// leave tells the other end that nobody reads any more, and unwatch that ctx
	// need not.
	leave   func()
	unwatch func() bool
	// line is the way to the actor's node, if that is another one.
	line *line
}

// event is one part of a stream: an event, or the end. The opening is no news for
// who reads.
type event struct {
	message proto.Message
	size    int
	opening bool
	last    bool
	fail    *failure
}

func newReader(ctx context.Context, n *Node, spec *methodSpec) *reader {
	return &reader{n: n, spec: spec, ctx: ctx, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// attach makes the reader leave the stream when it is closed, or at once if it has
// been.
func (r *reader) attach(leave func()) {
	r.mu.Lock()
	closed := r.closed
	r.leave = leave
	r.mu.Unlock()
	if closed {
		leave()
	}
}

// isOpen reports whether the stream was opened.
func (r *reader) isOpen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open
}

// watch closes an open reader when its caller's context ends.
func (r *reader) watch() {
	if r.ctx.Done() == nil {
		return
	}
	stop := context.AfterFunc(r.ctx, func() {
		r.fail(interrupted(causeOf(r.ctx), guarantee.MaybeExecuted, "while the stream was open"))
		r.close()
	})
	r.mu.Lock()
	r.unwatch = stop
	closed := r.closed
	r.mu.Unlock()
	if closed {
		stop()
	}
}

// read hands the events to yield until there are no more, or until it wants none.
func (r *reader) read(yield func(proto.Message, error) bool) {
	r.mu.Lock()
	again := r.begun
	r.begun = true
	r.mu.Unlock()
	if again {
		yield(nil, failedPrecondition("the events of %s were read before: open the stream once more", r.spec.path()).err())
		return
	}
	defer r.close()
	for {
		switch e := r.next(); {
		case e.fail != nil:
			yield(nil, e.fail.err())
			return
		case e.last:
			return
		default:
			if !yield(e.message, nil) {
				return
			}
		}
	}
}

// next waits for the next event.
func (r *reader) next() event {
	for {
		if e, ok := r.take(); ok {
			return e
		}
		select {
		case <-r.ready:
		case <-r.n.ctx.Done():
			return event{fail: interrupted(causeOf(r.n.ctx), guarantee.MaybeExecuted, "while the stream was open")}
		}
	}
}

// take takes the next event, if there is one.
func (r *reader) take() (event, bool) {
	r.mu.Lock()
	if len(r.queue) == 0 || r.closed {
		fail := r.failed
		r.mu.Unlock()
		return event{fail: fail}, fail != nil
	}
	e := dequeue(&r.queue)
	r.bytes -= e.size
	r.consumed++
	line := r.line
	r.mu.Unlock()
	signal(r.room)
	if line != nil && !e.last {
		line.credit(e.size)
	}
	return e, true
}

// fail ends the stream for a reason that does not come from the actor.
func (r *reader) fail(f *failure) {
	r.mu.Lock()
	if r.failed == nil {
		r.failed = f
	}
	r.mu.Unlock()
	signal(r.ready)
}

// close ends the reading.
func (r *reader) close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	r.queue, r.early = nil, nil
	leave, unwatch := r.leave, r.unwatch
	r.mu.Unlock()
	if unwatch != nil {
		unwatch()
	}
	if leave != nil {
		leave()
	}
}

// hasRoom reports whether a window with so many events and bytes takes another event
// of this size. A reader on another node tells what it has taken by halves of the window:
// what is left of a half may not stop anything, as no more would be told of it.
func hasRoom(events, bytes, size int) bool {
	return events == 0 || events < streamWindow && (bytes < streamWindowBytes/2 || bytes+size <= streamWindowBytes)
}

// accept adds what has arrived, and what has waited for it. r.mu is held.
func (r *reader) accept(e event) {
	for ok := true; ok; e, ok = r.early[r.received+1] {
		delete(r.early, r.received+1)
		r.received++
		if !e.opening {
			r.queue = append(r.queue, e)
			r.bytes += e.size
		}
	}
}

// dequeue takes the first of what waits. Neither that nor what the queue has grown to
// is kept.
func dequeue[T any](queue *[]T) T {
	var none T
	first := (*queue)[0]
	(*queue)[0] = none
	if *queue = (*queue)[1:]; len(*queue) == 0 {
		*queue = nil
	}
	return first
}

// signal puts a token into a channel that has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// localOutlet is the way to a reader on the actor's own node. Events are copied
// unless the method is immutable, so that they are the reader's own wherever the
// actor lives.
type localOutlet struct {
	r             *reader
	copy, convert bool
}

func (l localOutlet) open() {
	l.r.mu.Lock()
	l.r.open, l.r.received, l.r.consumed = true, 1, 1
	l.r.mu.Unlock()
	l.r.watch()
}

func (l localOutlet) begin() {} // its node has told it

func (l localOutlet) put(ctx context.Context, message proto.Message, size int) *failure {
	switch {
	case l.convert:
		var err error
		if message, err = retyped(message, l.r.spec.reply()); err != nil {
			return unreadableReply(err)
		}
	case l.copy:
		message = proto.Clone(message)
	}
	for {
		l.r.mu.Lock()
		closed, fits := l.r.closed, hasRoom(len(l.r.queue), l.r.bytes, size)
		if fits && !closed {
			l.r.accept(event{message: message, size: size})
		}
		l.r.mu.Unlock()
		switch {
		case closed:
			return interrupted(errUnread, guarantee.MaybeExecuted, "while the stream was open")
		case fits:
			signal(l.r.ready)
			return nil
		}
		select {
		case <-l.r.room:
		case <-ctx.Done():
			return interrupted(causeOf(ctx), guarantee.MaybeExecuted, "while the stream was open")
		}
	}
}

func (l localOutlet) end(f *failure) {
	l.r.mu.Lock()
	l.r.accept(event{last: true, fail: f})
	l.r.mu.Unlock()
	signal(l.r.ready)
}
