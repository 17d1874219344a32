package cajun

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/link"
)

// attention is what an activation has to see to besides its mailbox; guarded by
// activation.mu.
type attention struct {
	wanted bool
	// turn says that the mailbox has had its turn since.
	turn bool
	// loaded says that the actor's items are known to its shard.
	loaded bool
	// visits are told when the actor is loaded, and settlements are to be stored.
	visits      []func()
	settlements []settlement
	// failed are turns of own items that cannot be stored.
	failed []ownFailure
}

// hasBusiness reports whether there is something that waits for the actor to be
// loaded.
func (at *attention) hasBusiness() bool { return len(at.visits)+len(at.settlements)+len(at.failed) > 0 }

// ownFailure is why the turn of an own item counts as failed.
type ownFailure struct {
	call *call
	fail *failure
}

// settlement is a change of an actor's items that does not come from a turn.
type settlement struct {
	changes []journal.Change
	// done is called when it is stored, if not nil.
	done func()
}

// settle has a change of an actor's items stored.
func (s *shard) settle(key string, st settlement) {
	s.look(key, func(a *activation) { a.attention.settlements = append(a.attention.settlements, st) })
}

// attend has an actor looked after, and told is called once it is loaded: at
// once, if it is, as it may be at something for which this is waited for. It
// reports whether the actor is busy: it is then loaded when it has the time.
func (s *shard) attend(key string, told func()) (busy bool) {
	loaded := false
	s.look(key, func(a *activation) {
		if loaded = a.attention.loaded; !loaded {
			busy = a.running
			a.attention.visits = append(a.attention.visits, told)
		}
	})
	if loaded {
		told()
	}
	return busy
}

// look makes the actor's activation see to something. A shard that is on its way
// to another owner leaves it to that one.
func (s *shard) look(key string, add func(*activation)) {
	for {
		a, fail := s.activation(key, false)
		if fail != nil {
			return
		}
		a.mu.Lock()
		if !a.removed {
			add(a)
			a.attention.wanted = true
			a.wake()
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
	}
}

// lookAgain makes the activation see to its items once more.
func (a *activation) lookAgain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.removed {
		a.attention.wanted = true
		a.wake()
	}
}

// lookLater makes the actor's activation see to its items after a pause, for
// what has failed for a reason that may pass.
func (a *activation) lookLater(pause time.Duration) {
	s, key := a.shard, a.self.key
	time.AfterFunc(pause, func() { s.look(key, func(*activation) {}) })
}

// needsAttention reports whether there is something for attend, which a shard on
// its way to another owner leaves to that one. a.mu is held.
func (a *activation) needsAttention() bool {
	return a.attention.wanted && a.shard.phase.Load() == shardServing
}

// takeAttention reports whether attend is next: it takes turns with the mailbox.
// a.mu is held.
func (a *activation) takeAttention() bool {
	if !a.needsAttention() {
		return false
	}
	if a.head != nil && !a.attention.turn {
		a.attention.turn = true
		return false
	}
	a.attention.wanted, a.attention.turn = false, false
	return true
}

// attend sees to one of the actor's own items.
func (a *activation) attend() {
	if !a.shard.node.untilActive() {
		return
	}
	a.attending = true
	defer func() { a.attending = false }()
	if a.durable != nil && a.durable.isLost() {
		a.drop()
	}
	if a.durable == nil {
		if fail := a.load(); fail != nil {
			// What is to be stored waits until the actor can be loaded; one that
			// never can must not keep others from sending.
			if !fail.retryable {
				a.tellVisits(false)
			}
			a.lookLater(recoveryPause.Pause(4, rand.Float64()))
			return
		}
	}
	a.mu.Lock()
	settlements, failed := a.attention.settlements, a.attention.failed
	a.attention.settlements, a.attention.failed = nil, nil
	a.mu.Unlock()
	for _, st := range settlements {
		a.stageOwn(st)
	}
	for _, f := range failed {
		a.ownFailed(f.call, f.fail)
	}
	if a.hasIntent() && !a.finishIntent() {
		return
	}
	if c := a.nextOwn(); c != nil {
		if a.takeOwn(c) {
			a.lookAgain()
		} else {
			a.lookLater(deliveryPause.Pause(3, rand.Float64()))
		}
	}
}

// tellVisits tells who waits for the actor to be loaded.
func (a *activation) tellVisits(loaded bool) {
	a.mu.Lock()
	visits := a.attention.visits
	a.attention.visits, a.attention.loaded = nil, loaded
	a.mu.Unlock()
	for _, told := range visits {
		told()
	}
}

// nextOwn makes a call of the actor's next message or timer that is due. If
// there is none, the shard's agenda gets to know when there will be.
func (a *activation) nextOwn() *call {
	d := a.durable
	now := time.Now().UnixNano()
	d.batch.mu.Lock()
	defer d.batch.mu.Unlock()
	sequence, inbox, wait := d.journal.Accepted(now)
	if inbox != nil {
		return a.ownCall(own{inbox: sequence, label: inbox.GetCallId()}, inbox.GetMessage(), inbox.GetTrouble())
	}
	name, timer, due := d.journal.Timer(now)
	if timer != nil {
		o := own{timer: name, label: timerID(a, timer), due: timer.GetDueNanos()}
		return a.ownCall(o, timer.GetMessage(), timer.GetTrouble())
	}
	if wait == 0 || due != 0 && due < wait {
		wait = due
	}
	a.shard.agenda.set(a.self.key, wait)
	return nil
}

// timerID names one tick of one timer.
func timerID(a *activation, row *statev1.TimerRow) string {
	return fmt.Sprintf("%s/timer/%s/%x@%d", a.path(), row.GetMessage().GetTimer(), row.GetSequence(), row.GetDueNanos())
}

// own says for which of the actor's own items a turn is.
type own struct {
	inbox uint64
	timer string
	due   int64
	// label is the ID of the call.
	label string
}

// is reports whether the turn is for an own item at all.
func (o own) is() bool { return o.label != "" }

// ownCall is the call of an own item. For a method that this node does not have,
// or a request that it cannot read, unfit says so.
func (a *activation) ownCall(o own, m *statev1.Message, trouble *statev1.Trouble) *call {
	h := a.shard.host
	c := &call{activation: a, own: o, level: guarantee.Level(m.GetLevel()), headers: m.GetHeaders(), hops: m.GetHops(), peer: a.shard.node.ID(), repeat: trouble.GetAttempts() > 0}
	if o.timer != "" {
		c.hops = 0 // time passes, so nothing runs in a circle
	}
	c.turn.call = c
	timeout := a.shard.node.config.callTimeout
	if m.GetTimeoutNanos() > 0 {
		timeout = time.Duration(m.GetTimeoutNanos())
	}
	c.turn.deadline = time.Now().Add(timeout)
	var fail *failure
	if c.method, fail = h.methodFor(h.kind.Name, m.GetMethod(), shapeOneWay, link.TaskDeliver); fail == nil {
		c.req = c.method.newRequest()
		if err := proto.Unmarshal(m.GetPayload(), c.req); err != nil {
			fail = refuse(connect.CodeInvalidArgument, "the stored request of %s cannot be read: %v", m.GetMethod(), err)
		} else {
			fillKeyField(c.method.spec, a.self.key, c.req)
		}
	}
	if fail != nil {
		c.method, c.unfit = h.errands, fail
	}
	return c
}

// takeOwn runs the turn of an own item. It reports false when the item is as it
// was, for a reason that may pass.
func (a *activation) takeOwn(c *call) (done bool) {
	c.start()
	a.makeCurrent(c)
	returned := false
	defer func() {
		switch {
		case returned:
		case a.fallen:
			a.finish(c, result{})
			a.lookLater(time.Second)
		default: // the handler called runtime.Goexit
			a.abandonTurn(c)
			fail := a.undone(c, endedGoroutine(c))
			if a.ownFailed(c, fail) {
				_ = a.flush()
			}
			a.finish(c, result{fail: fail})
			a.lookLater(time.Second)
		}
	}()
	r := result{fail: c.unfit}
	if r.fail == nil {
		r = a.result(c)
	}
	returned = true
	done = r.fail == nil || a.ownFailed(c, r.fail)
	a.finish(c, r)
	return done
}

// ownDone are the changes of a turn that has handled an own item.
func (a *activation) ownDone(o own) []journal.Change {
	if o.inbox != 0 {
		return []journal.Change{journal.RemoveInbox(o.inbox)}
	}
	a.durable.batch.mu.Lock()
	row := a.durable.journal.TimerNamed(o.timer)
	a.durable.batch.mu.Unlock()
	if row == nil || row.GetDueNanos() != o.due {
		return nil
	}
	return []journal.Change{advanced(o.timer, row)}
}

// advanced moves a timer on to its next due time that is not over yet, or
// removes it: what was missed meanwhile has just happened, once.
func advanced(name string, row *statev1.TimerRow) journal.Change {
	every := row.GetEveryNanos()
	if every == 0 {
		return journal.RemoveTimer(name)
	}
	next := proto.Clone(row).(*statev1.TimerRow)
	next.Trouble = nil
	next.DueNanos += every
	if late := time.Now().UnixNano() - next.GetDueNanos(); late >= 0 {
		next.DueNanos += (late/every + 1) * every
	}
	return journal.PutTimer(name, next)
}

// ownFailed notes that the turn of an own item has failed. Attempts that the
// actor itself has refused count, until the item is a dead letter. It reports
// false when this one does not.
func (a *activation) ownFailed(c *call, fail *failure) bool {
	if transient(fail) || fail.outcome == guarantee.MaybeExecuted {
		return false
	}
	if a.durable != nil && a.durable.isLost() {
		a.drop()
	}
	if a.durable == nil && a.load() != nil {
		return false
	}
	d := a.durable
	d.batch.mu.Lock()
	dead := d.journal.Counts().Dead
	inbox, timer := d.journal.InboxRow(c.own.inbox), d.journal.TimerNamed(c.own.timer)
	d.batch.mu.Unlock()
	var changes []journal.Change
	switch {
	case inbox != nil:
		t := troubleAfter(inbox.GetTrouble(), fail)
		if exhausted(inbox.GetMessage(), t) && dead < MaxInbox {
			changes = []journal.Change{journal.RemoveInbox(c.own.inbox), a.bury(c, inbox, nil, t)}
			break
		}
		changes = []journal.Change{journal.PutInbox(c.own.inbox, &statev1.InboxRow{Message: inbox.GetMessage(), Trouble: t, Sender: inbox.GetSender(), CallId: inbox.GetCallId()})}
	case timer != nil && timer.GetDueNanos() == c.own.due:
		t := troubleAfter(timer.GetTrouble(), fail)
		if exhausted(timer.GetMessage(), t) && dead < MaxInbox {
			changes = []journal.Change{advanced(c.own.timer, timer), a.bury(c, nil, timer, t)}
			break
		}
		row := proto.Clone(timer).(*statev1.TimerRow)
		row.Trouble = t
		changes = []journal.Change{journal.PutTimer(c.own.timer, row)}
	}
	a.stageOwn(settlement{changes: changes})
	return true
}

// buryAtOnce makes a dead letter of an own item whose turn has answered with an
// error after it had called other actors: to run it again would call them twice.
func (a *activation) buryAtOnce(c *call, fail *failure) []journal.Change {
	d := a.durable
	d.batch.mu.Lock()
	defer d.batch.mu.Unlock()
	inbox, timer := d.journal.InboxRow(c.own.inbox), d.journal.TimerNamed(c.own.timer)
	have := d.journal.Counts()
	switch {
	case inbox == nil && timer == nil:
		return nil
	case inbox == nil && (have.Dead >= MaxInbox || a.roomFor(have, proto.Size(timer)) != nil):
		a.shard.node.logger.Error("a timer's call has failed and is left out: its actor has too many dead letters to keep one more", "kind", a.self.kind,
			"method", c.method.spec.name, "shard", a.shard.id.Number, "epoch", a.shard.epoch, "error", fail.message)
		return nil
	}
	return []journal.Change{a.bury(c, inbox, timer, &statev1.Trouble{Attempts: 1, Reason: shortened(fail.message)})}
}

// bury makes a dead letter of an own item: of an accepted message, or else of a
// timer's tick.
func (a *activation) bury(c *call, inbox *statev1.InboxRow, timer *statev1.TimerRow, t *statev1.Trouble) journal.Change {
	a.shard.node.logger.Error("a message is given up; it is a dead letter of its actor now", "kind", a.self.kind, "method", c.method.spec.name,
		"shard", a.shard.id.Number, "epoch", a.shard.epoch, "attempts", t.GetAttempts(), "error", t.GetReason())
	sequence, sender, id, message := c.own.inbox, inbox.GetSender(), inbox.GetCallId(), inbox.GetMessage()
	if inbox == nil {
		sequence, sender, id, message = a.shard.post.ledger.next(), c.own.label, c.own.label, timer.GetMessage()
	}
	letter := deadRow(message, t)
	letter.Inbox, letter.Sender, letter.CallId = true, sender, id
	return journal.PutDead(sequence, letter)
}

// troubleAfter adds a failed attempt to what is known of a message's.
func troubleAfter(t *statev1.Trouble, fail *failure) *statev1.Trouble {
	attempts := t.GetAttempts() + 1
	return &statev1.Trouble{
		Attempts: attempts, Reason: shortened(fail.message), Maybe: t.GetMaybe() || fail.outcome == guarantee.MaybeExecuted,
		RetryNanos: nanosFromNow(deliveryPause.Pause(int(attempts), rand.Float64())),
	}
}

// maxReason bounds what is stored of why a message has failed.
const maxReason = 1 << 10

func shortened(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:maxReason], "") + "…"
}

// exhausted reports whether a message has failed often enough to be given up.
func exhausted(m *statev1.Message, t *statev1.Trouble) bool {
	limit := m.GetMaxAttempts()
	if limit == 0 {
		limit = DefaultMaxAttempts
	}
	return t.GetAttempts() >= limit
}

// timerRow is the row of a timer that a message sets.
func timerRow(m *statev1.Message, sequence uint64) *statev1.TimerRow {
	m.Task = uint32(link.TaskDeliver)
	return &statev1.TimerRow{Message: m, DueNanos: m.GetDueNanos(), EveryNanos: m.GetEveryNanos(), Sequence: sequence}
}

func deadRow(m *statev1.Message, t *statev1.Trouble) *statev1.DeadRow {
	return &statev1.DeadRow{Message: m, Trouble: t, Since: time.Now().UnixMilli()}
}

func nanosFromNow(d time.Duration) int64 { return time.Now().Add(d).UnixNano() }

// stageOwn adds a change of items to the batch. If it cannot be stored, the actor
// is loaded anew, and its lanes tell again.
func (a *activation) stageOwn(st settlement) {
	if len(st.changes) == 0 {
		return
	}
	a.stage(journal.Turn{State: a.durable.base, Changes: st.changes, Settles: true}, result{}, func(err error) {
		switch {
		case err != nil:
			a.lookLater(recoveryPause.Pause(2, rand.Float64()))
		case st.done != nil:
			st.done()
		}
	})
}
