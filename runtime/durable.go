package cajun

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/state"
)

// loadTimeout bounds reading an actor from the state store.
const loadTimeout = 5 * time.Second

// durable is the part of an active actor that outlives it.
type durable struct {
	journal *journal.Actor
	// state is the message that the actor changes in place; nil when the kind
	// has no state. base is its encoding before the present turn.
	state proto.Message
	base  []byte
	// intent says that a turn is to be brought to its end before any other.
	intent bool
	// batch guards journal once the actor is active.
	batch batch
}

// load reads the durable part of the actor. Actors without state need it only
// once they are called EXACTLY_ONCE.
func (a *activation) load() *failure {
	n := a.shard.node
	if n.journal == nil {
		return refuse(connect.CodeFailedPrecondition, "EXACTLY_ONCE calls need a state store on the actor's node, and node %s has none: start it with WithState", n.Name())
	}
	ctx, cancel := context.WithTimeout(a.shard.ctx, loadTimeout)
	defer cancel()
	j, err := n.journal.Load(ctx, state.Actor{Shard: a.shard.id, Key: a.self.key}, a.shard.fence())
	if err != nil {
		if fenced := new(state.FencedError); errors.As(err, &fenced) {
			n.manager.Fenced(a.shard.id, a.shard.epoch)
		}
		n.logger.Error("an actor cannot be read from the state store", "kind", a.self.kind, "shard", a.shard.id.Number, "epoch", a.shard.epoch, "error", err)
		if errors.Is(err, journal.ErrCorrupt) {
			return refuse(connect.CodeDataLoss, "%v", err).because(err)
		}
		return unavailable("the actor's state cannot be read now: %v", err).because(err)
	}
	if j.HasCallers() {
		// Some of them may not be in the view yet, and would be taken for ended.
		if err := n.viewMembers(a.shard); err != nil {
			return unavailable("the members cannot be read now, and without them it is not known whose calls the actor has to remember: %v", err).because(err)
		}
	}
	d := &durable{journal: j, base: j.State(), intent: j.Intent() != nil}
	if newState := a.shard.host.newState; newState != nil {
		d.state = newState()
		if err := proto.Unmarshal(d.base, d.state); err != nil {
			return refuse(connect.CodeDataLoss, "the stored state of a %s is no %s: %v", a.self.kind, d.state.ProtoReflect().Descriptor().FullName(), err)
		}
	}
	a.durable = d
	a.shard.post.loaded(a.self.key, j)
	a.tellVisits(true)
	if have := j.Counts(); !a.attending && (d.intent || have.Inbox+have.Timers > 0) {
		a.lookAgain()
	}
	return nil
}

// rebase makes the present content of the state what a failed turn goes back
// to.
func (d *durable) rebase(state proto.Message) *failure {
	b, err := encodeState(state)
	if err != nil {
		return refuse(connect.CodeInternal, "the actor's state cannot be encoded: %v", err)
	}
	d.base = b
	return nil
}

// rollback puts the state back as it was before the turn, in place, as the
// actor holds the pointer.
func (d *durable) rollback() error {
	if d.state == nil {
		return nil
	}
	return proto.Unmarshal(d.base, d.state) // resets first
}

// sessions tells the journal which callers are gone for good.
type sessions struct{ n *Node }

// Generation implements journal.Sessions.
func (s sessions) Generation() uint64 { return s.n.view.Generation() }

// Over implements journal.Sessions.
func (s sessions) Over(session string) bool {
	if guarantee.IsShardCaller(session) {
		return false // a shard outlives its owners, and with it what it sends
	}
	_, member := s.n.view.Get(session)
	return !member
}

func encodeState(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// recall answers an EXACTLY_ONCE call that was answered before. It reports
// done as false for a call that is to run.
func (a *activation) recall(c *call) (r result, done bool) {
	if a.durable == nil { // it was dropped, as a commit has failed just before
		if fail := a.load(); fail != nil {
			return result{fail: fail}, true
		}
	}
	if fail := a.admitCaller(c); fail != nil {
		return result{fail: fail}, true
	}
	d := a.durable
	d.batch.mu.Lock()
	reply, verdict := d.journal.Look(c.id, c.method.spec.name, c.watermark, c.open...)
	d.batch.mu.Unlock()
	switch verdict {
	case guarantee.Known:
		return a.replay(c, reply), true
	case guarantee.Forgotten:
		return result{fail: refuse(connect.CodeFailedPrecondition,
			"call %s is forgotten: its caller has acknowledged it or given it up", c.id)}, true
	case guarantee.Full:
		if c.id.Key != "" {
			return result{fail: refuse(connect.CodeResourceExhausted,
				"the actor remembers as many calls under keys of their callers as it may, for %v each: spread the work over more actors, or use keys only for what is worth it", journal.KeyRetention)}, true
		}
		return result{fail: refuse(connect.CodeResourceExhausted,
			"the caller has more than %d EXACTLY_ONCE calls unacknowledged at this actor", guarantee.MaxOutstanding)}, true
	}
	return result{}, false
}

// admitCaller refuses calls of sessions that are no members: what was
// remembered of the calls of an ended session may be forgotten, and a repeat of
// one must not be taken for a new call.
//
// Earlier owners of the shard could forget sessions only until the fence was
// raised, and only those of whose end they knew, so a view that was read after
// that knows of them, too. A session that has just joined may not be in the view
// yet: its call comes again.
func (a *activation) admitCaller(c *call) *failure {
	n, session := a.shard.node, c.id.Session
	if c.id.Key != "" || session == n.ID() || guarantee.IsShardCaller(session) {
		return nil
	}
	a.durable.batch.mu.Lock()
	known := a.durable.journal.Knows(session)
	a.durable.batch.mu.Unlock()
	if !known {
		if err := n.viewMembers(a.shard); err != nil {
			return unavailable("the members cannot be read now, and without them a call of a node that is new here cannot be told from a repeat: %v", err).because(err)
		}
	}
	if _, member := n.view.Get(session); !member {
		return unavailable("the calling session %s is no member, or not yet known as one: a node that has left cannot repeat its calls", session)
	}
	return nil
}

// replay is the stored answer to a repeated call.
func (a *activation) replay(c *call, stored *statev1.Reply) result {
	if !bytes.Equal(c.hash, stored.GetRequestHash()) {
		return result{fail: refuse(connect.CodeInvalidArgument,
			"call %s was made before with other arguments: use a new key for a new call", c.id)}
	}
	r := storedResult(stored)
	r.replayed = !c.repeat
	return r
}

func storedResult(stored *statev1.Reply) result {
	f := stored.GetFailure()
	if f == nil {
		return result{payload: stored.GetPayload(), stored: true}
	}
	fail := &failure{code: connect.Code(f.GetCode()), message: f.GetMessage(), outcome: guarantee.Answered, internalText: f.GetInternalText()}
	for _, d := range f.GetDetails() {
		fail.details = append(fail.details, &connect.ErrorDetail{Type: d.GetType(), Value: d.GetValue()})
	}
	return result{fail: fail}
}

// commit ends a turn that the handler has answered, with a reply or with an
// error: it puts what has to be stored before the answer may leave into the
// batch.
func (a *activation) commit(c *call, reply proto.Message, fail *failure, e *effects) result {
	d := a.durable
	changed, err := a.settleState(c, fail)
	if err != nil {
		e.cancel(a.shard.post)
		a.forget()
		return result{fail: &failure{code: connect.CodeInternal, message: "the actor's state cannot be encoded: " + err.Error(), outcome: guarantee.NotCommitted}}
	}
	if fail != nil {
		e.cancel(a.shard.post) // an error undoes what the handler has sent, too
		if c.durableOneWay() && !e.hasIntent() {
			return result{fail: fail} // it is run anew
		}
	}
	turn := journal.Turn{State: d.base, Changes: a.turnChanges(c, e, fail), Settles: fail != nil || c.own.is()}
	if !changed && !c.remembered() && len(turn.Changes) == 0 {
		return result{message: reply, fail: fail}
	}
	if c.remembered() {
		turn.Call, turn.Method, turn.Watermark, turn.Open = c.id, c.method.spec.name, c.watermark, c.open
		if turn.Reply, err = storedReply(c, reply, fail); err != nil {
			e.cancel(a.shard.post)
			a.forget()
			return result{fail: &failure{code: connect.CodeInternal, message: "the reply cannot be encoded: " + err.Error(), outcome: guarantee.NotCommitted}}
		}
	}
	var after func(error)
	if len(turn.Changes) > 0 {
		after = a.afterTurn(c, e)
	}
	if turn.Reply != nil {
		return a.stage(turn, storedResult(turn.Reply), after)
	}
	return a.stage(turn, result{message: reply, fail: fail}, after)
}

// turnChanges is what a turn changes of the actor's items.
func (a *activation) turnChanges(c *call, e *effects, fail *failure) (changes []journal.Change) {
	if c.own.is() {
		changes = a.ownDone(c.own)
		if fail != nil { // it has called other actors and must not do so again
			changes = append(changes, a.buryAtOnce(c, fail)...)
		}
	}
	if e == nil {
		return changes
	}
	changes = append(changes, e.changes...)
	if e.intent != 0 {
		changes = append(changes, journal.RemoveIntent())
		a.durable.intent = false
	}
	return changes
}

// afterTurn sends what a turn has stored, once it is, and finds out whether it
// is if that is not known.
func (a *activation) afterTurn(c *call, e *effects) func(error) {
	p, key := a.shard.post, a.self.key
	return func(err error) {
		if e != nil && err != nil {
			p.doubt(key, e.booked)
		}
		if err != nil {
			if fail := notCommitted(err); c.own.is() && !fail.retryable {
				a.mu.Lock()
				a.attention.failed = append(a.attention.failed, ownFailure{c, fail})
				a.mu.Unlock()
			}
			a.lookLater(recoveryPause.Pause(2, rand.Float64()))
			return
		}
		if e != nil && e.intent != 0 {
			p.turns.end(e.intent)
			a.open.Store(false)
		}
		if e != nil && len(e.changes) > 0 || c.own.timer != "" {
			if e != nil && len(e.booked) > 0 {
				p.offer(key, e.outbox, false)
			}
			a.lookAgain()
		}
	}
}

// settleState brings base and state together after a handler: a change of the
// state is kept in base when it is to be stored, and undone otherwise. It
// reports whether there is a change to store.
func (a *activation) settleState(c *call, fail *failure) (changed bool, err error) {
	d := a.durable
	if d.state == nil {
		return false, nil
	}
	after, err := encodeState(d.state)
	if err != nil {
		return false, err
	}
	if bytes.Equal(after, d.base) {
		return false, nil
	}
	if fail == nil && !c.method.spec.opts.NoSideEffects {
		d.base = after
		return true, nil
	}
	if fail == nil {
		a.shard.node.logger.Error("a NO_SIDE_EFFECTS method changed the actor's state; the change is undone", "kind", a.self.kind, "method", c.method.spec.name)
	}
	return false, d.rollback()
}

// storedReply is what is remembered of an answer.
func storedReply(c *call, reply proto.Message, fail *failure) (*statev1.Reply, error) {
	r := &statev1.Reply{Sequence: c.id.Sequence, Part: c.id.Part, RequestHash: c.hash}
	if fail == nil {
		var err error
		r.Payload, err = proto.Marshal(reply)
		return r, err
	}
	r.Failure = &statev1.Failure{Code: uint32(fail.code), Message: fail.message, InternalText: fail.internalText}
	for _, d := range fail.details {
		r.Failure.Details = append(r.Failure.Details, &statev1.Detail{Type: d.Type, Value: d.Value})
	}
	return r, nil
}

// noteFence gives the shard up when a commit was refused because another owner
// holds it.
func (a *activation) noteFence(err error) {
	if e := new(journal.Error); errors.As(err, &e) && e.Fenced {
		a.shard.node.manager.Fenced(a.shard.id, a.shard.epoch)
	}
}

// notCommitted says what became of a turn whose commit has failed.
func notCommitted(err error) *failure {
	f := &failure{code: connect.CodeUnavailable, outcome: guarantee.MaybeExecuted, retryable: true, cause: err,
		message: "the turn could not be stored; whether it was is not known"}
	e := new(journal.Error)
	if errors.As(err, &e) {
		f.outcome = e.Outcome
	}
	if f.outcome == guarantee.NotCommitted {
		f.message = "the turn was not stored, and what it did to the actor's state is undone"
	}
	if errors.Is(err, state.ErrTooLarge) {
		f.code, f.retryable = connect.CodeResourceExhausted, e.Crowded
		f.message = "the actor's state and replies are too large to be stored; what the turn did is undone: " + err.Error()
	}
	return f
}
