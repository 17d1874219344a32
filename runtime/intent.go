package cajun

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/link"
)

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

// settles reports whether a failure is as good as an answer to a turn that has
// made the call: it would come again, and the call has had no effect. In a later
// run that is not certain of a refusal that the actor has not made itself: its own
// it stores. Such a run, and one in which the actor has failed by itself, is as
// good as none, until there were enough of them.
func (o *outgoing) settles(fail *failure) bool {
	switch {
	case fail.outcome == guarantee.Answered, fail.final:
		return true
	case transient(fail), fail.isLate():
		return false
	case fail.outcome == guarantee.NotExecuted && !o.rerun:
		return true
	}
	o.refusal = fail
	return o.effects.believes
}
