package cajun

import (
	"context"
	"iter"
	"sync"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
)

// DefaultTopicBuffer is how many events a subscriber may be behind.
const DefaultTopicBuffer = 256

// Topic hands the events that an actor publishes to everybody who has subscribed, in
// order. Keep one in the actor; the zero value is ready. It makes following an
// actor's state a matter of two lines: a handler publishes what it has done, and a
// server-streaming method returns a subscription.
//
//	func (a *account) Deposit(ctx context.Context, req *bankv1.DepositRequest) (*bankv1.DepositReply, error) {
//		a.state.Cents += req.GetCents()
//		return &bankv1.DepositReply{}, a.changes.Publish(ctx, &bankv1.Change{Cents: a.state.GetCents()})
//	}
//
//	func (a *account) Watch(ctx context.Context, _ *bankv1.WatchRequest) (iter.Seq2[*bankv1.Change, error], error) {
//		return a.changes.Subscribe(ctx, &bankv1.Change{Cents: a.state.GetCents()}), nil
//	}
//
// A subscription ends when the actor leaves memory. Its methods are safe for
// concurrent use.
type Topic[E proto.Message] struct {
	// Buffer is how many events a subscriber may be behind before it is ended; 0 is
	// DefaultTopicBuffer. Set it before the first use.
	Buffer int

	mu          sync.Mutex
	published   uint64
	subscribers map[*subscriber[E]]struct{}
}

// subscriber is guarded by its topic's mutex.
type subscriber[E proto.Message] struct {
	// after is the number of the last event that the subscription came after.
	after uint64
	queue []E
	// first is how many of them the subscription began with. They were not published
	// while the subscriber was behind, so they take no room from what is.
	first int
	// behind says that there were too many.
	behind bool
	ready  chan struct{}
}

// Publish hands a copy of event to the subscribers. With the context of a turn they
// get it once what the turn has changed is stored, and never if the turn fails; so an
// event never tells of what did not happen. A subscription made by a later turn does
// not get it, as the state tells of it there. Without a turn in ctx, as in a test of a
// handler, they get it at once. The error is one of the context, whose turn is over, or
// of an event that is nil.
func (t *Topic[E]) Publish(ctx context.Context, event E) error {
	if proto.Message(event) == nil || !event.ProtoReflect().IsValid() {
		return refuse(connect.CodeInvalidArgument, "the event to publish is nil: publish an empty message instead").err()
	}
	turn := turnFrom(ctx)
	copied := proto.CloneOf(event)
	t.mu.Lock()
	t.published++
	number := t.published
	t.mu.Unlock()
	if turn == nil {
		t.deliver(number, copied)
		return nil
	}
	if !turn.publish(func() { t.deliver(number, copied) }) {
		return turnIsOver().err()
	}
	return nil
}

// deliver hands an event to all who have subscribed before it.
func (t *Topic[E]) deliver(number uint64, event E) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subscribers {
		switch {
		case number <= s.after || s.behind:
			continue
		case len(s.queue)-s.first < t.limit():
			s.queue = append(s.queue, event)
		default:
			s.behind = true
		}
		signal(s.ready)
	}
}

func (t *Topic[E]) limit() int {
	if t.Buffer > 0 {
		return t.Buffer
	}
	return DefaultTopicBuffer
}

// Subscribe returns first and then every event that is published from now on, until
// ctx ends. Range over it once. It begins now and not with the loop, so nothing is
// missed in between. Who is more than Buffer events behind gets what it has missed the
// beginning of no more, but an error with the code resource_exhausted; nobody else is
// held up by it. The events are shared by all subscribers: do not change them.
func (t *Topic[E]) Subscribe(ctx context.Context, first ...E) iter.Seq2[E, error] {
	s := &subscriber[E]{first: len(first), ready: make(chan struct{}, 1)}
	for _, e := range first {
		s.queue = append(s.queue, proto.CloneOf(e))
	}
	t.mu.Lock()
	s.after = t.published
	if t.subscribers == nil {
		t.subscribers = make(map[*subscriber[E]]struct{})
	}
	t.subscribers[s] = struct{}{}
	t.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { t.remove(s) })
	return func(yield func(E, error) bool) {
		defer t.remove(s)
		defer stop()
		for {
			event, ok, err := t.next(s)
			if err != nil {
				yield(event, err)
				return
			}
			if ok {
				if !yield(event, nil) {
					return
				}
				continue
			}
			select {
			case <-s.ready:
			case <-ctx.Done():
				yield(event, ctx.Err())
				return
			}
		}
	}
}

// next takes a subscriber's next event, if there is one.
func (t *Topic[E]) next(s *subscriber[E]) (event E, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(s.queue) > 0 {
		s.first = max(s.first-1, 0)
		return dequeue(&s.queue), true, nil
	}
	if s.behind {
		f := refuse(connect.CodeResourceExhausted, "the reader is more than %d events behind and has missed some: read faster, or subscribe again to begin with the present state", t.limit())
		f.outcome = guarantee.Answered
		return event, false, f.err()
	}
	return event, false, nil
}

func (t *Topic[E]) remove(s *subscriber[E]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.subscribers, s)
}

// publish keeps what is to be told to subscribers once the turn is stored. It reports
// false when the turn is over.
func (t *turnContext) publish(tell func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	t.news = append(t.news, tell)
	return true
}

// publish tells the subscribers what the turn has published, once what it has changed
// and all that was before it is stored.
func (a *activation) publish(c *call) {
	news := c.turn.news // the turn has ended: no more come
	c.turn.news = nil
	if len(news) == 0 {
		return
	}
	tell := func(err error) {
		if err == nil {
			for _, f := range news {
				f()
			}
		}
	}
	if d := a.durable; d != nil {
		d.batch.mu.Lock()
		defer d.batch.mu.Unlock()
		if d.batch.lost {
			return
		}
		if len(d.batch.held) > 0 || d.journal.Waiting() > 0 {
			d.batch.after = append(d.batch.after, tell)
			return
		}
	}
	tell(nil)
}
