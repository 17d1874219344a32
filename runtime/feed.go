package cajun

import (
	"context"
	"errors"
	"iter"
	"runtime/debug"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/member"
)

// maxFeeds bounds how many streams the actors of a node feed at once.
const maxFeeds = 64 << 10

var (
	// errLeft ends the streams of an actor that leaves memory.
	errLeft = errors.New("cajun: the actor has left memory")
	// errSuspended ends those of a node that cannot confirm its lease.
	errSuspended = errors.New("cajun: the actor's node cannot serve now")
	// errUnread ends a stream whose reader has left.
	errUnread = errors.New("cajun: nobody reads the stream any more")
)

// feed is a stream where its actor lives: it takes the events that a handler has
// returned and hands them to the reader, as fast as that takes them. It begins with
// the turn, and has a goroutine of its own from the moment at which the turn's answer
// may leave. It ends with its actor's memory.
type feed struct {
	activation *activation
	spec       *methodSpec
	turn       *turnContext
	// events are what the handler has returned.
	events iter.Seq2[proto.Message, error]
	// outlet is the way to the reader; nil if there is none, as in a later run of an
	// open turn.
	outlet outlet
	// life is the stream's context, which a cause ends.
	life   context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of its deadline
	// opening ends the turn when the caller's patience does.
	opening *time.Timer
	// ended says that the reader is being told of the end, and told is closed when it
	// has been.
	ended atomic.Bool
	told  chan struct{}
	// isOpen says that the turn's answer has left; guarded by the activation's mutex.
	isOpen bool
}

// outlet is the way of a stream to its reader.
type outlet interface {
	// open makes the stream one that can be read, and begin tells the reader so. The
	// turn opens it; from then on it is the feed's own.
	open()
	begin()
	// put hands over an event of so many bytes once the reader has room for it. A
	// failure, or the end of ctx, ends the stream.
	put(ctx context.Context, event proto.Message, size int) *failure
	// end tells how the stream has ended; nil if there are no more events.
	end(*failure)
}

type feedKey struct{}

// newFeed begins the stream of a turn that is about to run.
func (a *activation) newFeed(c *call) (*feed, *failure) {
	n := a.shard.node
	if n.feeds.Add(1) > maxFeeds {
		n.feeds.Add(-1)
		return nil, refuse(connect.CodeResourceExhausted, "node %s feeds %d streams and takes no more: spread the actors over more nodes", n.Name(), maxFeeds)
	}
	f := &feed{activation: a, spec: c.method.spec, turn: &c.turn, stop: func() {}, told: make(chan struct{})}
	f.life, f.cancel = context.WithCancelCause(a.shard.ctx)
	if c.opens != nil && !c.opens.deadline.IsZero() {
		f.life, f.stop = context.WithDeadline(f.life, c.opens.deadline)
	}
	if !c.turn.deadline.IsZero() {
		f.opening = time.AfterFunc(time.Until(c.turn.deadline), func() { c.turn.end(context.DeadlineExceeded) })
	}
	f.outlet = c.outlet(n, f)
	a.mu.Lock()
	if a.feeds == nil {
		a.feeds = make(map[*feed]struct{})
	}
	a.feeds[f] = struct{}{}
	a.mu.Unlock()
	c.turn.attach(f)
	return f, nil
}

// outlet returns the way to the call's reader.
func (c *call) outlet(n *Node, f *feed) outlet {
	switch {
	case c.opens != nil && c.opens.reader != nil:
		c.opens.reader.attach(func() { f.cancel(errUnread) })
		return localOutlet{c.opens.reader, c.copyReply, c.convert != nil}
	case c.remote.peer != nil:
		return newRemoteOutlet(n, c.remote, f)
	}
	return nil
}

// attach ties a stream to the turn that opens it: what ends the turn before its
// time ends the stream.
func (t *turnContext) attach(f *feed) {
	t.mu.Lock()
	t.feed = f
	cause := t.cause
	t.mu.Unlock()
	if cause != nil {
		f.cancel(cause)
	}
}

// settleFeed tells the turn's stream, if there is one, the result that its caller is
// told. It reports whether the stream is open now.
func (t *turnContext) settleFeed(fail *failure) bool {
	t.mu.Lock()
	f := t.feed
	t.feed = nil
	t.mu.Unlock()
	return f != nil && f.settle(fail)
}

// settle is told the result of the turn, when that may be told to others. It reports
// whether the stream is open.
func (f *feed) settle(fail *failure) bool {
	if f.opening != nil {
		f.opening.Stop()
	}
	if fail != nil || f.outlet == nil {
		f.cancel(errTurnOver)
		f.release()
		return false
	}
	f.activation.mu.Lock()
	f.isOpen = true
	f.activation.mu.Unlock()
	f.outlet.open()
	if !f.activation.shard.node.workers.stream(f.run) {
		f.cancel(ErrClosed)
		f.outlet.begin()
		f.tell(f.over())
		f.release()
	}
	return true
}

// run takes the events until there are no more.
func (f *feed) run() {
	fail := refuse(connect.CodeInternal, "the events of %s ended their goroutine instead of returning", f.spec.path())
	fail.outcome = guarantee.MaybeExecuted
	defer func() {
		f.tell(fail)
		f.cancel(errUnread)
		f.release()
	}()
	f.outlet.begin()
	// The reader need not wait for events that do not heed their context.
	defer context.AfterFunc(f.life, func() { f.tell(f.over()) })()
	fail = f.pump()
}

// tell tells the reader how the stream has ended, unless it has been told already.
func (f *feed) tell(fail *failure) {
	if f.ended.Swap(true) {
		<-f.told
		return
	}
	defer close(f.told)
	f.outlet.end(fail)
}

// release gives back what the stream holds of its actor and its node.
func (f *feed) release() {
	f.stop()
	a := f.activation
	a.mu.Lock()
	delete(a.feeds, f)
	a.used = a.shard.node.coarse.Load()
	a.mu.Unlock()
	a.shard.node.feeds.Add(-1)
}

// pump hands over the events and returns how they have ended.
func (f *feed) pump() (fail *failure) {
	n := f.activation.shard.node
	defer func() {
		if p := recover(); p != nil {
			n.logger.Error("the events of a stream panicked", "kind", f.spec.kind.Name, "method", f.spec.name, "panic", p, "stack", string(debug.Stack()))
			fail = refuse(connect.CodeInternal, "the events of %s panicked; the stack is in the log of node %s", f.spec.path(), n.Name())
			fail.outcome = guarantee.MaybeExecuted
		}
	}()
	for event, err := range f.events {
		if more, fail := f.hand(event, err); !more {
			f.tell(fail)
			f.cancel(errUnread) // so that what still waits for its context returns
			return fail
		}
	}
	return f.over()
}

// hand hands over one event, and reports whether more are to come or how they have
// ended.
func (f *feed) hand(event proto.Message, err error) (more bool, fail *failure) {
	switch {
	case f.life.Err() != nil:
		return false, f.over()
	case err != nil:
		return false, answer(err)
	case f.activation.shard.node.session.Check() != nil:
		f.cancel(errSuspended)
		return false, f.over()
	}
	size, fail := f.check(event)
	if fail == nil {
		fail = f.outlet.put(f.life, event, size)
	}
	if over := f.over(); fail != nil && over != nil {
		fail = over
	}
	return fail == nil, fail
}

// check refuses events that no reader could take.
func (f *feed) check(event proto.Message) (size int, fail *failure) {
	limit := f.activation.shard.node.config.maxMessage
	if event == nil || !event.ProtoReflect().IsValid() {
		fail = refuse(connect.CodeInternal, "an event of %s is nil: yield an empty message instead", f.spec.path())
	} else if size = proto.Size(event); size > limit {
		fail = refuse(connect.CodeResourceExhausted, "an event of %s has %d bytes, at most %d are taken: send less at a time", f.spec.path(), size, limit)
	} else {
		return size, nil
	}
	fail.outcome = guarantee.MaybeExecuted
	return size, fail
}

// over is how a stream has ended: nil if nothing has ended it before its time.
func (f *feed) over() *failure {
	if f.life.Err() == nil {
		return nil
	}
	fail := &failure{code: connect.CodeUnavailable, outcome: guarantee.MaybeExecuted, message: "the stream has ended, as "}
	switch cause := context.Cause(f.life); {
	case errors.Is(cause, errLeft):
		fail.message += "the actor has left its node's memory"
	case errors.Is(cause, errSuspended):
		fail.message += "the actor's node cannot serve now"
	case errors.Is(cause, errMoved):
		fail.message += "the actor is moving to another node"
	case errors.Is(cause, ErrClosed):
		fail.message += "the actor's node was closed"
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(cause, errUnread), errors.Is(cause, context.Canceled):
		return interrupted(cause, guarantee.MaybeExecuted, "while the stream was open")
	default:
		fail.message += "the actor's node has lost it"
	}
	fail.message += ": open it again"
	return fail
}

// streamContext is what the handler of a stream gets: in the turn it is the turn's,
// and then it is the stream's alone. Calls that the events make are those of no turn.
type streamContext struct{ *feed }

// Deadline implements context.Context.
func (s streamContext) Deadline() (time.Time, bool) { return s.life.Deadline() }

// Done implements context.Context.
func (s streamContext) Done() <-chan struct{} { return s.life.Done() }

// Err implements context.Context.
func (s streamContext) Err() error { return s.life.Err() }

// Value implements context.Context.
func (s streamContext) Value(key any) any {
	switch key.(type) {
	case feedKey:
		return s.feed
	case turnKey:
		if !s.turn.over() {
			return s.turn
		}
		return nil
	}
	return s.life.Value(key)
}

// outlast returns the context of a stream's handler, whose inbound interceptors have
// passed on ctx. What that holds is there for as long as the stream is; its end, which
// may come with the interceptors' own, counts until the handler has returned.
func (f *feed) outlast(ctx context.Context) (handler context.Context, done func()) {
	if _, same := ctx.(streamContext); same {
		return ctx, func() {}
	}
	stop := context.AfterFunc(ctx, func() { f.cancel(causeOf(ctx)) })
	return lastingContext{streamContext{f}, ctx}, func() { stop() }
}

// lastingContext is a stream's context with the values of another one.
type lastingContext struct {
	streamContext
	values context.Context
}

// Value implements context.Context.
func (l lastingContext) Value(key any) any {
	if v := l.streamContext.Value(key); v != nil {
		return v
	}
	if _, turn := key.(turnKey); turn {
		return nil // it is over
	}
	return l.values.Value(key)
}

// endFeeds ends the streams of an actor. A turn that is about to open one goes on,
// like any other: unless the actor is gone with its memory, it may end in its own time.
func (a *activation) endFeeds(cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for f := range a.feeds {
		if f.isOpen || cause == errLeft {
			f.cancel(cause)
		}
	}
}

// watchSuspension ends the streams of a node whenever that is suspended: what they
// would tell may be out of date.
func (n *Node) watchSuspension() {
	for {
		state, changed := n.session.State()
		if state.Phase == member.Suspended {
			for s := range n.shards {
				for _, a := range s.all() {
					a.endFeeds(errSuspended)
				}
			}
		}
		select {
		case <-changed:
		case <-n.ctx.Done():
			return
		}
	}
}
