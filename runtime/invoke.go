package cajun

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/placement"
)

// maxChain bounds how deep calls may nest.
const maxChain = 32

// outgoing is one call of this node on its way, across all its attempts.
type outgoing struct {
	spec     *methodSpec
	key      string
	identity string
	shard    uint32
	level    guarantee.Level
	id       guarantee.CallID
	headers  map[string]string
	chain    []string
	deadline time.Time
	// ownDeadline says that the caller's context has no deadline, so that this
	// one, a timeout after the call's start, has to be watched besides.
	ownDeadline bool
	timeout     time.Duration
	limit       *deadlineContext
	// safetyNet says that nobody has asked for that timeout: it is the node's
	// default.
	safetyNet bool

	// grace is how much longer an answer is waited for, which may say that the
	// deadline has passed.
	grace time.Duration

	// until is how long an answer is waited for, if that is not until the deadline:
	// the call then goes on without this attempt.
	until time.Time

	// hint is what the last receiver said about the shard's owner.
	hint *link.Redirect
	// early is the epoch of an owner that did not serve the shard yet: it has
	// claimed the shard and is raising the fence. It is asked to tell when it is
	// done, as no change of the record will. waits counts that.
	early uint64
	waits int
	// candidate counts the claimants that were tried in vain.
	candidate int
	// claimed says that this node has just taken the shard.
	claimed bool
	// nested says that a turn makes the call.
	nested bool
	// waited says that time has passed since the deadline was set.
	waited bool
	// outcome is that of all attempts so far, also when an interceptor makes
	// the call again.
	outcome guarantee.Outcome
	// last is the outcome of the latest attempt alone.
	last guarantee.Outcome
	// tries counts the attempts that may have run the handler.
	tries int
	// ledger knows the outstanding calls of the caller: the node, or for what an
	// actor sends its shard.
	ledger *ledger
	// turns are those of the shard whose actor makes the call in a turn of its
	// own, if one does.
	turns *openTurns
	// errand is what the actor's owner is to do when that is not to run the
	// method for a caller that waits, and hops counts the durable one-way calls
	// that led here.
	errand link.Errand
	hops   uint32
	// raw is the encoded request of a message that was stored.
	raw   []byte
	isRaw bool
	// replayed says that the answer is that of an earlier call with the same key.
	replayed bool
	// effects are those of the turn that makes the call under its intent, and
	// unsettled says that it is not known what the actor has to say.
	effects   *effects
	unsettled bool
	// rerun says that the turn is run again, so that an earlier run may have made
	// the call, and refusal is why it is not known whether that had an effect.
	rerun   bool
	refusal *failure
	// reading is the context of who opens a stream, reader where it is read, and
	// streamDeadline the end of that context's time.
	reading        context.Context
	reader         *reader
	streamDeadline time.Time
	// carried says that the call got past the interceptors, and authored is the
	// error that they were told then.
	carried  bool
	authored error
}

// repeats reports whether the next attempt repeats one that may have run.
func (o *outgoing) repeats() bool {
	return (o.tries > 0 || o.rerun) && o.level > guarantee.AtMostOnce
}

// left is how long an answer is still waited for.
func (o *outgoing) left() time.Duration {
	if !o.until.IsZero() && o.until.Before(o.deadline) {
		return time.Until(o.until)
	}
	return time.Until(o.deadline)
}

func (o *outgoing) actor() actorID { return actorID{o.identity, o.key} }

// path names the call's actor in chains and messages.
func (o *outgoing) path() string { return o.identity + "/" + o.key }

// invoke makes a call: everything that generated code calls comes through
// here.
func invoke(ctx context.Context, p Pid, spec *methodSpec, req proto.Message) (proto.Message, error) {
	if capture, ok := ctx.Value(captureKey{}).(*capture); ok {
		return nil, capture.take(p, spec, req)
	}
	return invokeErrand(ctx, p, spec, req, link.Errand{})
}

// invokeErrand is invoke for what the actor's owner is to do besides.
func invokeErrand(ctx context.Context, p Pid, spec *methodSpec, req proto.Message, errand link.Errand) (proto.Message, error) {
	n, o, err := p.outgoing(spec)
	if err != nil {
		return nil, err
	}
	defer n.recycle(o)
	o.errand = errand
	return n.call(ctx, o, req)
}

// outgoing is a new call of a method of the actor, and the node that makes it and
// is to recycle it.
func (p Pid) outgoing(spec *methodSpec) (*Node, *outgoing, error) {
	n, fail := p.door()
	if fail != nil {
		return nil, nil, fail.err()
	}
	o := n.calls.Get().(*outgoing)
	o.spec, o.key = spec, p.key
	return n, o, nil
}

// call makes the call that o describes.
func (n *Node) call(ctx context.Context, o *outgoing, req proto.Message) (proto.Message, error) {
	if fail := n.prepare(ctx, o, req); fail != nil {
		o.notMade(ctx, fail)
		return nil, fail.err()
	}
	req = completed(o.spec, o.key, req)
	if o.effects != nil {
		defer func() { o.effects.returned(o) }()
	}
	return n.number(ctx, o, req)
}

// number gives an EXACTLY_ONCE call its number and makes it.
func (n *Node) number(ctx context.Context, o *outgoing, req proto.Message) (proto.Message, error) {
	if o.level == guarantee.ExactlyOnce && o.id.IsZero() && !o.stored(ctx) {
		sequence, err := n.ledger.begin(o.bounded(ctx), o.actor())
		if err != nil {
			return nil, interrupted(err, guarantee.NotExecuted, "while too many calls to this actor were outstanding").err()
		}
		o.id = guarantee.CallID{Session: n.ID(), Sequence: sequence}
		o.waited = true
		defer n.ledger.end(o.actor(), sequence)
	}
	defer o.noteReplay(ctx)
	if n.outbound == nil {
		reply, fail := n.dispatch(ctx, o, req)
		if fail != nil {
			return nil, fail.err()
		}
		return reply, nil
	}
	return n.intercept(ctx, o, req)
}

// stored reports whether the call is a message that a turn's commit stores.
func (o *outgoing) stored(ctx context.Context) bool {
	return o.errand.Task != link.TaskCall && turnFrom(ctx) != nil
}

// dispatch sends a call on its way: to its actor, or into the turn that is to
// store it.
func (n *Node) dispatch(ctx context.Context, o *outgoing, req proto.Message) (proto.Message, *failure) {
	if o.stored(ctx) {
		o.carried = true
		return nil, o.store(turnFrom(ctx), req)
	}
	if o.spec.streams {
		if o.reader != nil {
			o.reader.close() // of an earlier call by an interceptor
		}
		o.reader = newReader(o.reading, n, o.spec)
	}
	reply, fail := n.carry(ctx, o, req)
	if fail == nil && o.spec.streams && !o.reader.isOpen() {
		fail = refuse(connect.CodeUnimplemented, "the actor's node gave one reply to %s instead of a stream: it runs another version of the service", o.spec.path())
		fail.outcome = guarantee.MaybeExecuted
	}
	o.unsettled = fail != nil && o.effects != nil && !o.settles(fail)
	return reply, fail
}

// recycle ends an outgoing call. Interceptors may have kept what they saw, so
// what they were shown is not used again.
func (n *Node) recycle(o *outgoing) {
	if o.limit != nil {
		o.limit.release()
	}
	if n.outbound == nil {
		*o = outgoing{}
		n.calls.Put(o)
	}
}

// intercept makes a call through the node's outbound interceptors. An error
// of theirs gets the outcome that it lacks.
func (n *Node) intercept(ctx context.Context, o *outgoing, req proto.Message) (proto.Message, error) {
	ctx = o.bounded(ctx)
	o.ownDeadline = false
	reply, err := n.outbound(ctx, Call{Kind: o.spec.kind.Name, Key: o.key, Method: o.spec.name, Level: o.level, Peer: n.ID(), headers: o.headers, out: o}, req)
	switch {
	case err != nil && (o.authored == nil || !errors.Is(err, o.authored)):
		// Its own, or that of another call that it made: what that says of its
		// execution is not about this one.
		f := answer(err)
		f.outcome = guarantee.MaybeExecuted
		if !o.carried {
			f.outcome = guarantee.NotExecuted
			o.unsettled = o.effects != nil && !o.settles(f)
		}
		return nil, f.err()
	case err != nil:
		return nil, err
	case o.spec.replies() && (reply == nil || reply.ProtoReflect().Type() != o.spec.reply()):
		f := refuse(connect.CodeInternal, "an outbound interceptor returned no reply of %s: return what next returned, or an error", o.spec.path())
		f.outcome = guarantee.MaybeExecuted
		return nil, f.err()
	case o.spec.streams && (o.reader == nil || !o.reader.isOpen()):
		f := refuse(connect.CodeInternal, "an outbound interceptor returned no error, although there is no stream of %s: return what next returned, or an error", o.spec.path())
		f.outcome = guarantee.MaybeExecuted
		return nil, f.err()
	}
	return reply, nil
}

// readjust looks again at what outbound interceptors may have changed.
func (o *outgoing) readjust(ctx context.Context, req proto.Message) *failure {
	if req == nil || !req.ProtoReflect().IsValid() || req.ProtoReflect().Type() != o.spec.request() {
		return refuse(connect.CodeInternal, "an outbound interceptor passed on no request of %s: pass on a message of the same type", o.spec.path())
	}
	if fail := checkKeyField(o.spec, o.key, req); fail != nil {
		return fail
	}
	o.waited = true
	if d, bounded := ctx.Deadline(); !bounded {
		o.ownDeadline = true
	} else if d.Before(o.deadline) {
		o.deadline = d
	}
	headers := callOptionsFrom(ctx).headers
	o.headers = forwardTrace(o.headers, headers)
	return checkHeaders(headers)
}

// checkHeaders refuses headers that the link does not take.
func checkHeaders(headers map[string]string) *failure {
	if len(headers) > link.MaxHeaders {
		return refuse(connect.CodeInvalidArgument, "the call has %d headers, at most %d are taken: put the rest into the request", len(headers), link.MaxHeaders)
	}
	for k, v := range headers {
		switch {
		case !utf8.ValidString(k) || !utf8.ValidString(v):
			return refuse(connect.CodeInvalidArgument, "the header %q is not UTF-8: encode it, for example in base64", k)
		case len(k) > link.MaxText || len(v) > link.MaxText:
			return refuse(connect.CodeInvalidArgument, "the header %.40q has %d bytes, at most %d are taken: put it into the request", k, max(len(k), len(v)), link.MaxText)
		}
	}
	return nil
}

// prepare checks a call at the earliest door and fills in what it will need.
func (n *Node) prepare(ctx context.Context, o *outgoing, req proto.Message) *failure {
	spec, key := o.spec, o.key
	if n.closed() {
		return refuse(connect.CodeUnavailable, "node %s is closed and makes no more calls", n.Name())
	}
	if req == nil || !req.ProtoReflect().IsValid() {
		return refuse(connect.CodeInvalidArgument, "the request of %s is nil: pass an empty message instead", spec.path())
	}
	if fail := checkKey(spec.kind.Name, key); fail != nil {
		return fail
	}
	if fail := checkKeyField(spec, key, req); fail != nil {
		return fail
	}
	kind, ok := n.kind(spec.kind)
	if !ok {
		return refuse(connect.CodeNotFound, "no node of cluster %q has ever hosted the kind %s: start one with its Host option", n.config.cluster, spec.kind.Name)
	}
	o.outcome, o.ledger = guarantee.NotExecuted, &n.ledger
	o.identity, o.shard = kind.Identity, placement.ShardOf(key, kind.Shards)
	var bounded bool
	if o.deadline, bounded = ctx.Deadline(); !bounded {
		o.safetyNet = spec.opts.Timeout == 0 && !n.config.callTimeoutSet
		o.timeout = cmp.Or(spec.opts.Timeout, n.config.callTimeout)
		o.deadline, o.ownDeadline = time.Now().Add(o.timeout), true
	} else if o.spec.streams {
		o.streamDeadline = o.deadline
	}
	options := callOptionsFrom(ctx)
	if o.headers = options.headers; len(o.headers) > 0 {
		if fail := checkHeaders(o.headers); fail != nil {
			return fail
		}
	}
	if fail := o.promise(n, options); fail != nil {
		return fail
	}
	if ctx.Err() != nil {
		return interrupted(causeOf(ctx), guarantee.NotExecuted, "before the call was made")
	}
	if turn := turnFrom(ctx); turn != nil {
		if fail := o.nest(ctx, turn); fail != nil {
			return fail
		}
	} else if o.errand.Task == link.TaskListDead {
		o.level = guarantee.AtLeastOnce
	} else if o.errand.Task != link.TaskCall {
		o.level = guarantee.ExactlyOnce // the errand itself, whatever the method is
	}
	if o.level < guarantee.ExactlyOnce {
		o.id = guarantee.CallID{Session: n.ID(), Sequence: n.ledger.next()}
	}
	return nil
}

// promise settles the delivery level.
func (o *outgoing) promise(n *Node, options callOptions) *failure {
	asked := options.level
	if options.key != nil {
		asked = guarantee.ExactlyOnce
	}
	if !asked.Valid() {
		return refuse(connect.CodeInvalidArgument, "%v is no delivery level", asked)
	}
	o.level = max(o.spec.declared(n.config.delivery), asked)
	switch {
	case o.level > guarantee.AtMostOnce && o.spec.streams:
		return refuse(connect.CodeInvalidArgument, "%s gives a stream, which is AT_MOST_ONCE: open it without Deliver and Idempotent, and again when it ends early", o.spec.path())
	case o.level == guarantee.ExactlyOnce && o.spec.opts.NoSideEffects:
		return refuse(connect.CodeInvalidArgument, "%s has no side effects, so there is nothing that EXACTLY_ONCE could protect: call it AT_LEAST_ONCE", o.spec.path())
	case o.level > guarantee.AtMostOnce && o.spec.oneWay && o.errand.Task == link.TaskCall:
		o.errand.Task = link.TaskAccept
	}
	if options.key != nil {
		if fail := options.key.bind(o.path() + "/" + o.spec.name); fail != nil {
			return fail
		}
		o.id = guarantee.CallID{Key: options.key.key}
	}
	return nil
}

// nest makes the call part of the chain of the turn that makes it.
func (o *outgoing) nest(ctx context.Context, turn *turnContext) *failure {
	if turn.over() {
		return turnIsOver()
	}
	if o.errand.Task > link.TaskUnschedule {
		return failedPrecondition("dead letters cannot be seen to from within a turn: use another context than the handler's")
	}
	if o.errand.Task != link.TaskCall {
		if o.id.Key != "" {
			return refuse(connect.CodeInvalidArgument, "a handler's message to %s was given a key by Idempotent: leave it out, the message is stored with the turn and delivered once as it is", o.spec.path())
		}
		o.headers = forwardTrace(turn.call.headers, o.headers)
		return nil // it is sent when the turn is over, and is no part of the chain
	}
	if fail := turn.settleBefore(); fail != nil {
		return fail
	}
	o.hops = turn.call.hops
	o.nested = true
	o.headers = forwardTrace(turn.call.headers, o.headers)
	if o.spec.oneWay {
		return nil // nobody waits, so no cycle can form
	}
	caller := turn.call.activation.path()
	target := o.path()
	if target == caller || slices.Contains(turn.call.chain, target) {
		return refuse(connect.CodeFailedPrecondition, "the call would wait for itself: %s: use a one-way call, or pass what the actor needs along",
			strings.Join(append(append(slices.Clone(turn.call.chain), caller), target), " → "))
	}
	if len(turn.call.chain)+1 >= maxChain {
		return refuse(connect.CodeFailedPrecondition, "calls nest %d deep, and no deeper is allowed: %s", maxChain, strings.Join(turn.call.chain, " → "))
	}
	o.chain = append(slices.Clone(turn.call.chain), caller)
	if o.intends() && !turn.call.hook {
		return turn.intend(ctx, o)
	}
	return nil
}

func turnIsOver() *failure {
	return refuse(connect.CodeFailedPrecondition, "the turn that this context belongs to is over: make the call before the handler returns, or with another context")
}

// forwardTrace passes the headers of W3C Trace Context on to nested calls, so
// that a trace follows a chain without anybody's help.
func forwardTrace(from, to map[string]string) map[string]string {
	for _, h := range []string{"traceparent", "tracestate", "baggage"} {
		v, ok := from[h]
		if _, set := to[h]; !ok || set {
			continue
		}
		merged := map[string]string{h: v}
		for k, v := range to {
			merged[k] = v
		}
		to = merged
	}
	return to
}

// progress tells which of the caller's calls to the actor will not come again:
// those below the watermark that are not open. It is 0 for calls of which the
// actor remembers nothing.
func (o *outgoing) progress() (watermark uint64, open []uint64) {
	if o.level != guarantee.ExactlyOnce && o.errand.Task != link.TaskDeliver {
		return 0, nil
	}
	if o.turns != nil {
		return o.turns.progress()
	}
	return o.ledger.progress(o.actor())
}

// bounded returns ctx with the call's deadline, for waits that only a context
// can end. The wait for the answer needs no such context: it watches the
// deadline itself.
func (o *outgoing) bounded(ctx context.Context) context.Context {
	if !o.ownDeadline {
		return ctx
	}
	if o.limit == nil {
		o.limit = &deadlineContext{Context: ctx, deadline: o.deadline}
	}
	return o.limit
}
