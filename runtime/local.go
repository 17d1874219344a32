package cajun

import (
	"context"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
)

// callLocal makes an attempt at an actor of this node. Request and reply are
// copied unless the method is immutable, so that an actor behaves the same
// wherever it lives.
func (n *Node) callLocal(ctx context.Context, o *outgoing, s *shard, req proto.Message) (proto.Message, *failure) {
	m, fail := s.host.methodFor(o.spec.kind.Name, o.spec.name, o.spec.shape(), o.errand.Task)
	if fail != nil {
		if s.host.methods[o.spec.name] == nil {
			fail = n.lacking(o, n.Name())
		}
		return nil, fail
	}
	if size := o.size(req); size > n.config.maxMessage {
		return nil, tooLarge(o.spec, size, n.config.maxMessage)
	}
	c := &call{method: m, level: o.level, id: o.id, repeat: o.repeats(), chain: o.chain, nested: o.nested, peer: n.ID(), headers: o.headers, hops: o.hops, errand: o.errand}
	if fail := c.takeRequest(o, req); fail != nil {
		return nil, fail
	}
	c.turn.deadline = o.deadline
	if o.spec.streams {
		c.opens = &opening{o.reader, o.streamDeadline}
	}
	c.watermark, c.open = o.progress()
	if o.isOneWay() {
		return nil, s.deliver(o.key, c)
	}
	if ctx.Done() != nil && o.until.IsZero() && !o.spec.streams {
		c.turn.caller = ctx // a reader watches it itself
	}
	w := n.waiters.Get().(*waiter)
	c.waiter = w
	watch := false
	if ctx.Done() == nil && o.safetyNet && m.mayInline(s.host, o.level) {
		c.inline, watch = m.pace()
	}
	var began time.Time
	if watch {
		began = time.Now()
	}
	if fail := s.deliver(o.key, c); fail != nil {
		n.release(w)
		return nil, fail
	}
	if c.inline {
		if c.activation.runInline(c) { // it took longer than one that nothing is stored for
			m.quick.Store(0)
		}
	} else if cause := w.wait(ctx, o); cause != nil {
		if ctx.Err() == nil && time.Until(o.deadline) > 0 {
			return nil, lost("the actor has not answered yet") // it goes on
		}
		return nil, n.abandon(c, cause)
	}
	r := w.result
	n.release(w)
	o.replayed = r.replayed
	if watch {
		m.observe(time.Since(began))
	}
	return r.message, r.fail
}

// takeRequest gives the call a request that it may keep: a copy, unless the
// method is immutable. A caller that knows other message types, through an
// alias of the kind, is understood by the encoding, as a remote one is.
func (c *call) takeRequest(o *outgoing, req proto.Message) *failure {
	spec := c.method.spec
	c.req, c.copyReply = req, !o.spec.opts.Immutable
	if o.errand.Task > link.TaskSchedule {
		return nil // nothing is said to the actor itself
	}
	if spec != o.spec && !spec.oneWay && !o.spec.oneWay && spec.reply() != o.spec.reply() {
		c.convert = o.spec.reply
	}
	switch {
	case o.isRaw:
		c.req = c.method.newRequest()
		if err := proto.Unmarshal(o.raw, c.req); err != nil {
			return refuse(connect.CodeInvalidArgument, "the stored request of %s cannot be read: %v", spec.path(), err)
		}
	case spec != o.spec && spec.request() != o.spec.request():
		c.req = c.method.newRequest()
		if err := transcribe(c.req, req); err != nil {
			return refuse(connect.CodeInvalidArgument, "the request of %s cannot be read as one of %s: %v", o.spec.path(), spec.path(), err)
		}
	case c.copyReply || spec.opts.KeyField != 0:
		c.req = proto.Clone(req)
	}
	fillKeyField(spec, o.key, c.req)
	return nil
}

const (
	// quickRun is how long a call may take whose handler counts as quick, with
	// the way to it and back.
	quickRun = 100 * time.Microsecond
	// quickRuns is how many calls in a row must have been quick before callers
	// run a method's handler themselves, and watchEvery how many of those share
	// one that is timed.
	quickRuns  = 64
	watchEvery = 32
)

// mayInline reports whether callers may run the method's handler themselves: it
// must not be able to wait for the state store.
func (m *hostedMethod) mayInline(h *hostedKind, level guarantee.Level) bool {
	return level < guarantee.ExactlyOnce && !m.spec.streams && (h.newState == nil || m.spec.opts.NoSideEffects)
}

// pace reports whether callers may run the handler of a quick method, and
// whether this call is to be timed.
func (m *hostedMethod) pace() (quick, watch bool) {
	n := m.quick.Load()
	if n < quickRuns {
		return false, true
	}
	return true, m.inlined.Add(1)%watchEvery == 0
}

// observe keeps count of how quick a method's handler is.
//
// A handler that is quick time after time, of an actor that is idle, is run on
// the goroutine of a local caller whose context can neither end nor has a
// deadline: handing the call over to another goroutine and back costs several
// times more than such a handler. A caller that runs the handler cannot leave
// it, so this is never done for a timeout that somebody has set; only the
// node's own default, the safety net, may then be overstayed by a handler that
// suddenly ignores its context.
func (m *hostedMethod) observe(took time.Duration) {
	if took > quickRun {
		m.quick.Store(0)
	} else if m.quick.Load() < quickRuns {
		m.quick.Add(1)
	}
}

// wait returns nil once the result is there, or why the caller gives up.
func (w *waiter) wait(ctx context.Context, o *outgoing) error {
	if !o.ownDeadline && o.until.IsZero() {
		select {
		case <-w.ready:
			return nil
		case <-ctx.Done():
			return causeOf(ctx)
		}
	}
	left := o.timeout
	if o.waited || !o.until.IsZero() {
		left = o.left()
	}
	expired, cause := w.await(ctx, left)
	if expired {
		return context.DeadlineExceeded
	}
	return cause
}

// await waits for the result, for at most d. It reports expired when that was
// too short, and otherwise nil or why the caller gives up.
func (w *waiter) await(ctx context.Context, d time.Duration) (expired bool, cause error) {
	w.arm(d)
	defer w.timer.Stop()
	select {
	case <-w.ready:
		return false, nil
	case <-ctx.Done():
		return false, causeOf(ctx)
	case <-w.timer.C:
		return true, nil
	}
}

// arm sets the waiter's timer.
func (w *waiter) arm(d time.Duration) {
	if w.timer == nil {
		w.timer = time.NewTimer(d)
		return
	}
	w.timer.Reset(d)
}

// release takes back a waiter whose result was received or will never come.
func (n *Node) release(w *waiter) {
	w.result, w.peer, w.reply, w.reader = result{}, nil, nil, nil
	n.waiters.Put(w)
}

// abandon leaves a call behind whose caller gave up.
func (n *Node) abandon(c *call, cause error) *failure {
	if c.original.Load() == nil && c.withdraw() {
		return interrupted(cause, guarantee.NotExecuted, "before the actor got to it")
	}
	c.turn.end(cause)
	return interrupted(cause, guarantee.MaybeExecuted, "while the actor was at it")
}

// method returns the method that a caller knows the kind by, unless this node
// has another version of it that cannot serve the caller.
func (h *hostedKind) method(kind, name string, want shape) (*hostedMethod, *failure) {
	m, ok := h.methods[name]
	if !ok {
		return nil, refuse(connect.CodeUnimplemented, "the actor's node hosts %s without a method %s: it runs an older or newer version of the service", kind, name)
	}
	if fail := m.spec.fits(want, kind); fail != nil {
		return nil, fail
	}
	return m, nil
}

// methodFor is method for any errand. Those that are not about one of the kind's
// methods have a stand-in.
func (h *hostedKind) methodFor(kind, name string, want shape, task link.Task) (*hostedMethod, *failure) {
	switch {
	case task > link.TaskDiscard:
		return nil, refuse(connect.CodeUnimplemented, "the actor's node does not know what is asked of %s: it runs an older version of the framework", kind)
	case task > link.TaskSchedule:
		return h.errands, nil
	case task == link.TaskCall:
		return h.method(kind, name, want)
	}
	m, fail := h.method(kind, name, shapeOneWay)
	if fail == nil && !m.spec.oneWay {
		fail = refuse(connect.CodeUnimplemented, "the method %s of %s is not one-way on the actor's node: it runs an older or newer version of the service", name, kind)
	}
	return m, fail
}

// size is that of the encoded request.
func (o *outgoing) size(req proto.Message) int {
	if o.isRaw {
		return len(o.raw)
	}
	return proto.Size(req)
}

func tooLarge(spec *methodSpec, size, limit int) *failure {
	f := refuse(connect.CodeResourceExhausted, "the request of %s has %d bytes, at most %d are taken: send less at a time", spec.path(), size, limit)
	f.final = true
	return f
}

// unreadableReply is the failure of a call that was answered, by something that
// cannot be read here.
func unreadableReply(err error) *failure {
	f := unreadable(err)
	f.outcome = guarantee.MaybeExecuted
	return f
}

func unreadable(err error) *failure {
	return refuse(connect.CodeInternal, "a message cannot be read: %v", err)
}
