package cajun

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/link"
)

// maxPanics is how many runs of a turn with an intent may panic, take too long or
// end with something that cannot be stored, before the turn is answered with
// that.
const maxPanics = 5

// intentPause shapes the pauses before a turn is run again.
var intentPause = guarantee.RetryPolicy{InitialBackoff: 20 * time.Millisecond, MaxBackoff: 5 * time.Second}

// intend prepares a call of a handler whose effect is to happen once, or at
// least once, together with those of its turn: whoever owns the actor brings
// the turn to its end, whether its caller lives or not.
func (t *turnContext) intend(ctx context.Context, o *outgoing) *failure {
	a := t.call.activation
	e := t.effects()
	if e == nil {
		return turnIsOver()
	}
	p := a.shard.post
	e.mu.Lock()
	defer e.mu.Unlock()
	if fail := e.needDurable(t, "the call of "+o.spec.path()); fail != nil {
		return fail
	}
	if err := p.ready(o.bounded(ctx)); err != nil {
		return interrupted(err, guarantee.NotExecuted, "while the actor's node was finding out what the actor's last node has left")
	}
	numbered := o.level == guarantee.ExactlyOnce && o.id.Key == ""
	if numbered && e.called[o.actor()] >= guarantee.MaxParts {
		return failedPrecondition("the turn has called %s EXACTLY_ONCE %d times, and no more is remembered of one turn: ask for more in one call, or let an actor make the rest", o.path(), guarantee.MaxParts)
	}
	if e.intent == 0 {
		if fail := a.storeIntent(t, e); fail != nil {
			return fail
		}
	}
	if numbered {
		key := partKey{o.actor(), o.spec.name}
		if e.parts == nil {
			e.parts, e.called = make(map[partKey]uint32), make(map[actorID]int)
		}
		e.parts[key]++
		e.called[o.actor()]++
		o.id = guarantee.CallID{Session: p.turnCaller, Sequence: e.intent, Part: partOf(o.spec.name, e.parts[key])}
		o.turns = &p.turns
	}
	e.underway++
	o.effects = e
	if o.rerun = t.call.intent != 0; o.rerun {
		o.shorten(a.shard.node.config.callTimeout)
	}
	return nil
}

// shorten bounds the wait for one answer, and not what the call may take: between
// two runs a turn sees who waits for its actor, perhaps in a circle. The next run
// joins the call where it is.
func (o *outgoing) shorten(timeout time.Duration) {
	o.until = time.Now().Add(max(timeout, o.spec.opts.Timeout))
}

const (
	// maxPatience bounds what a caller's deadline counts for: the actor does
	// nothing else meanwhile.
	maxPatience = time.Hour
	// maxDoublings is how often a run that has been too short is followed by one
	// that may take twice as long.
	maxDoublings = 2
)

// allowance is how long the turn may take when it is run again: about as long as
// its caller still waits.
func (t *turnContext) allowance() time.Duration {
	d := max(t.call.activation.shard.node.config.callTimeout, min(t.call.method.spec.opts.Timeout, 24*maxPatience))
	if !t.deadline.IsZero() {
		d = max(d, min(time.Until(t.deadline), maxPatience))
	}
	return d
}

// partOf numbers the n-th call of a method within a turn. Two methods whose
// names have the same hash get the same numbers; the second is then refused, as
// its arguments are not those of the first.
func partOf(method string, n uint32) uint64 {
	h := fnv.New32a()
	h.Write([]byte(method))
	return uint64(h.Sum32())<<32 | uint64(n)
}

// storeIntent stores that the turn has begun, with what the turns before it have
// changed. e.mu is held.
func (a *activation) storeIntent(t *turnContext, e *effects) *failure {
	c, d, p := t.call, e.durable, a.shard.post
	payload, err := proto.Marshal(c.req)
	if err != nil {
		return unreadable(err)
	}
	if c.hash != nil {
		hash, err := journal.RequestHash(c.hashName(), c.req)
		if err != nil || !slices.Equal(hash, c.hash) {
			return failedPrecondition("the handler of %s has changed its request before it called another actor, and could not be run again with the same one: copy what you change", c.method.spec.path())
		}
	}
	sequence := p.turns.begin()
	row := &statev1.IntentRow{
		Sequence: sequence, Method: c.method.spec.name, Payload: payload, Level: uint32(c.level),
		CallSession: c.id.Session, CallSequence: c.id.Sequence, CallPart: c.id.Part, CallKey: c.id.Key, Watermark: c.watermark,
		RequestHash: c.hash, Chain: c.chain, Headers: c.headers, Hops: c.hops, Peer: c.peer, Task: uint32(c.errand.Task),
		Inbox: c.own.inbox, Timer: c.own.timer, CallId: c.own.label, DueNanos: c.own.due, TimeoutNanos: int64(t.allowance()),
	}
	d.batch.mu.Lock()
	defer d.batch.mu.Unlock()
	fail := a.stageLocked(d, journal.Turn{State: d.base, Changes: []journal.Change{journal.PutIntent(row)}, Settles: true})
	if fail == nil {
		if err = a.settle(d); err != nil {
			fail = notCommitted(err)
		}
	}
	if fail == nil {
		e.intent, d.intent = sequence, true
		a.open.Store(true)
		return nil
	}
	if fail.outcome == guarantee.NotCommitted {
		p.turns.end(sequence)
	} else {
		e.intent = sequence // it may be stored; whoever loads the actor next will see
		a.open.Store(true)
	}
	a.lookLater(intentPause.Pause(1, rand.Float64()))
	if !fail.retryable {
		e.unstorable = fail
	}
	f := lost("the call was not made, as it could not be stored that the turn is under way: %s", fail.message)
	f.outcome, f.retryable = guarantee.NotExecuted, false
	e.unresolved = true
	return f
}

// returned notes that a call under an intent has returned. One without an answer
// leaves the turn unresolved: whatever the handler makes of that could be wrong
// once the call turns out to have happened, or happens when the turn is run again.
// A refusal that would come again is as good as an answer.
func (e *effects) returned(o *outgoing) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.underway--
	if e.closed {
		return // the turn has its end already, and counts the call as unresolved
	}
	if o.unsettled {
		e.unresolved = true
		e.lost = append(e.lost, o.path())
	}
	if o.refusal != nil {
		e.refusal = o.refusal
	}
}

// notMade notes that a call of a turn under an intent could not even be made, for
// a reason that passes: it counts like one without an answer.
func (o *outgoing) notMade(ctx context.Context, fail *failure) {
	turn := turnFrom(ctx)
	if turn == nil || !o.intends() || !transient(fail) {
		return
	}
	e := turn.effects()
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.intent != 0 && !e.closed {
		e.unresolved = true
		e.lost = append(e.lost, o.path())
	}
}

// intends reports whether a call in the middle of a turn is made under an
// intent.
func (o *outgoing) intends() bool {
	return o.level > guarantee.AtMostOnce && !o.spec.oneWay && !o.spec.opts.NoSideEffects && o.errand.Task == link.TaskCall
}

// hasIntent reports whether a turn is to be brought to its end before any other.
// It is asked before every turn, so it takes no lock.
func (a *activation) hasIntent() bool { return a.durable != nil && a.durable.intent }

// openIntent returns that turn, or nil.
func (a *activation) openIntent() *statev1.IntentRow {
	d := a.durable
	if d == nil {
		return nil
	}
	d.batch.mu.Lock()
	defer d.batch.mu.Unlock()
	return d.journal.Intent()
}

// finishIntent runs the turn of the actor's intent until it is done. It reports
// false when the shard goes to another owner first, who goes on.
func (a *activation) finishIntent() bool {
	for run := 1; ; run++ {
		if a.shard.phase.Load() != shardServing || !a.shard.node.untilActive() {
			return false
		}
		if a.durable != nil && a.durable.isLost() {
			a.drop()
		}
		if a.durable == nil {
			if fail := a.load(); fail != nil {
				a.shard.node.logger.Warn("an actor with a turn to finish cannot be loaded", "kind", a.self.kind, "error", fail.message)
				if !a.shard.sleep(intentPause.Pause(run, rand.Float64())) {
					return false
				}
				continue
			}
		}
		intent := a.openIntent()
		if intent == nil {
			a.reruns, a.overruns, a.doubts, a.believes, a.durable.intent = 0, 0, false, false, false
			a.open.Store(false)
			return true
		}
		fail := a.runIntent(intent)
		if fail == nil {
			continue // see whether it is stored
		}
		a.shard.node.logger.Log(context.Background(), levelOf(run), "a turn that has called other actors is not done yet; it is run again",
			"kind", a.self.kind, "method", intent.GetMethod(), "runs", run, "error", fail.message)
		if !a.pauseIntent(run) {
			return false
		}
	}
}

// pauseIntent waits before the next run, and goes on to abort turns of others
// meanwhile: one that calls this actor more than once needs an answer each time,
// and begins anew if it gets too few of them before its own deadline.
func (a *activation) pauseIntent(run int) bool {
	for left := intentPause.Pause(run, rand.Float64()); ; left -= abortEvery {
		a.abortChains(run)
		if left <= abortEvery {
			return a.shard.sleep(left)
		}
		if !a.shard.sleep(abortEvery) {
			return false
		}
	}
}

// abortEvery is how often an actor between two runs looks who waits for it.
const abortEvery = 20 * time.Millisecond

// patientRuns is how often a turn is run again while calls of other turns wait
// for its actor.
const patientRuns = 3

// abortChains answers turns of others that wait for this actor while it waits
// itself: those that, as far as can be seen, it waits for, and after a while all,
// as there may be a circle that cannot be seen from here. It would never end by
// itself: neither side takes another message before it has an answer. The error
// is stored like any answer, so that the other turn gets the same however often
// it is run.
func (a *activation) abortChains(run int) {
	if a.durable == nil || a.durable.isLost() {
		return
	}
	open := a.openIntent()
	a.mu.Lock()
	var waiting []*call
	for link := &a.head; *link != nil; {
		c := *link
		if !c.isWithdrawn() && (!c.nested || c.level == guarantee.AtMostOnce || c.isCallOf(open) || run < patientRuns && !c.waitsWith(a.waitsFor)) {
			link = &c.next
			continue
		}
		*link, c.next = c.next, nil
		a.queued--
		waiting = append(waiting, c)
	}
	a.tail = nil
	for c := a.head; c != nil; c = c.next {
		a.tail = c
	}
	a.mu.Unlock()
	for _, c := range waiting {
		a.abort(c)
	}
	_ = a.flush()
}

// isCallOf reports whether the turn of an intent was begun for this call: it is
// its answer that a repeat waits for.
func (c *call) isCallOf(intent *statev1.IntentRow) bool {
	id := guarantee.CallID{Session: intent.GetCallSession(), Sequence: intent.GetCallSequence(), Part: intent.GetCallPart(), Key: intent.GetCallKey()}
	return intent != nil && c.id == id && c.method.spec.name == intent.GetMethod()
}

// waitsWith reports whether one of the actors waits for the call.
func (c *call) waitsWith(actors []string) bool {
	return slices.ContainsFunc(c.chain, func(actor string) bool { return slices.Contains(actors, actor) })
}

func (a *activation) abort(c *call) {
	if !c.start() {
		a.passOver(c)
		return
	}
	var r result
	done := false
	if c.remembered() {
		r, done = a.recall(c)
	}
	fail := &failure{code: connect.CodeAborted, outcome: guarantee.Answered,
		message: fmt.Sprintf("%s waits for an answer itself, and perhaps in a circle with this call: let an actor of its own make such calls, or send a one-way message", a.self.kind)}
	switch {
	case done:
	case !c.remembered():
		r = result{fail: fail}
	default:
		reply, err := storedReply(c, nil, fail)
		if err != nil {
			a.finish(c, result{fail: unreadable(err)})
			return
		}
		turn := journal.Turn{State: a.durable.base, Call: c.id, Method: c.method.spec.name, Watermark: c.watermark, Open: c.open, Reply: reply, Settles: true}
		r = a.stage(turn, storedResult(reply), nil)
	}
	if r, waits := a.hold(c, r); !waits {
		a.finish(c, r)
	}
}

// runIntent runs the turn of an intent once more, and stores what has come of
// it.
func (a *activation) runIntent(intent *statev1.IntentRow) *failure {
	c, fail := a.intentCall(intent)
	if fail == nil && a.actor == nil {
		fail = a.activate()
		if fail == nil {
			c.turn.effect.durable = a.durable
		}
	}
	if fail != nil {
		return fail
	}
	previous := a.makeCurrent(c)
	a.fallen = true
	defer func() {
		if a.fallen {
			a.abandonTurn(c)
			a.answerRepeats(a.retire(c), result{fail: runsAgain(endedGoroutine(c))})
			a.makeCurrent(previous)
		}
	}()
	var r result
	if a.reruns++; a.reruns > maxPanics && !a.credulous() {
		a.fallen = false
		r = a.giveUpIntent(c, a.lastRun)
	} else {
		a.lastRun = endedGoroutine(c)
		c.turn.effect.believes = a.believes
		r = a.turn(c)
		a.fallen = false
		a.waitsFor = c.turn.effect.lost
		switch refusal := c.turn.effect.refusal; {
		case refusal != nil && !a.believes:
			a.lastRun, a.doubts = refusal, true
		case r.fail != nil && transient(r.fail):
			a.reruns = 0
		default:
			if a.lastRun = r.fail; r.fail != nil && r.fail.isLate() {
				a.overruns++
			}
		}
	}
	if err := a.flush(); err != nil {
		if a.lastRun = notCommitted(err); a.lastRun.retryable {
			a.reruns = 0
		}
	}
	joined := a.retire(c)
	a.makeCurrent(previous)
	c.turn.close()
	if r.fail == nil && (a.durable == nil || a.openIntent() != nil) {
		r.fail = lost("what the turn has done could not be stored")
	}
	a.answerRepeats(joined, r)
	if r.fail != nil && r.fail.outcome != guarantee.Answered {
		return r.fail
	}
	return nil
}

// credulous reports whether a turn that would be given up for a refusal is to be
// run with the refusal as the call's answer instead. It is not known whether an
// earlier run has made the call; but a handler that can deal with the refusal
// brings its turn to an end.
func (a *activation) credulous() bool {
	if !a.doubts || a.believes {
		return false
	}
	a.believes, a.reruns = true, 1
	a.shard.node.logger.Warn("a call of a turn that is run again is refused again and again; its handler is told so, although an earlier run may have made the call",
		"kind", a.self.kind, "key", a.self.key, "error", a.lastRun.message)
	return true
}

// makeCurrent sets the call whose turn runs and returns the one before.
func (a *activation) makeCurrent(c *call) (previous *call) {
	a.mu.Lock()
	defer a.mu.Unlock()
	previous, a.current = a.current, c
	return previous
}

// intentCall is the call of an intent, as it was when its turn began, but without
// its caller.
func (a *activation) intentCall(intent *statev1.IntentRow) (*call, *failure) {
	h := a.shard.host
	m, fail := h.methodFor(h.kind.Name, intent.GetMethod(), true, link.TaskCall)
	if fail != nil {
		return nil, fail
	}
	c := &call{
		activation: a, method: m, level: guarantee.Level(intent.GetLevel()), hash: intent.GetRequestHash(),
		id:    guarantee.CallID{Session: intent.GetCallSession(), Sequence: intent.GetCallSequence(), Part: intent.GetCallPart(), Key: intent.GetCallKey()},
		chain: intent.GetChain(), headers: intent.GetHeaders(), hops: intent.GetHops(), peer: intent.GetPeer(), repeat: true,
		errand: link.Errand{Task: link.Task(intent.GetTask())},
		own:    own{inbox: intent.GetInbox(), timer: intent.GetTimer(), due: intent.GetDueNanos(), label: intent.GetCallId()},
		intent: intent.GetSequence(),
	}
	if !guarantee.IsShardCaller(c.id.Session) {
		c.watermark = intent.GetWatermark() // that of a shard means nothing without its open turns
	}
	c.turn.call = c
	c.turn.deadline = time.Now().Add(max(time.Duration(intent.GetTimeoutNanos()), time.Second) << min(a.overruns, maxDoublings))
	c.start()
	c.req = m.newRequest()
	if err := proto.Unmarshal(intent.GetPayload(), c.req); err != nil {
		return nil, unreadable(err)
	}
	c.turn.effect = &effects{durable: a.durable, intent: c.intent}
	return c, nil
}

// giveUpIntent ends a turn that cannot come to its end: its caller is told the
// failure, for good.
func (a *activation) giveUpIntent(c *call, fail *failure) result {
	a.shard.node.logger.Error("a turn that has called other actors fails again and again; it is given up, and what it has done at others stays",
		"kind", a.self.kind, "method", c.method.spec.name, "call_id", c.idString(), "shard", a.shard.id.Number, "epoch", a.shard.epoch, "error", fail.message)
	if a.durable == nil {
		if fail := a.load(); fail != nil {
			return result{fail: fail}
		}
	}
	answer := *fail
	answer.outcome = guarantee.Answered
	return a.commit(c, nil, &answer, &effects{durable: a.durable, intent: c.intent})
}
