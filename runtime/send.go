package cajun

import (
	"maps"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/link"
)

const (
	// MaxSends is how many durable messages and changes of timers one turn may
	// make.
	MaxSends = 64
	// MaxOutbox is how many durable messages of one actor may wait to be
	// delivered, and MaxInbox how many may wait at one actor to be handled.
	MaxOutbox, MaxInbox = 4096, 1024
	// MaxTimers is how many timers one actor may have.
	MaxTimers = 1 << 17
	// MaxPending is how many bytes the messages and timers of one actor may take
	// together: they are loaded with it.
	MaxPending = 32 << 20
	// MaxHops is how many durable one-way calls may follow from one another. The
	// next one becomes a dead letter, as the chain has no end in sight.
	MaxHops = 100
)

// store puts a message, or a change of a timer, among what a turn's commit
// stores.
func (o *outgoing) store(turn *turnContext, req proto.Message) *failure {
	e := turn.effects()
	if e == nil {
		return turnIsOver()
	}
	m, fail := o.message(turn, req)
	if fail != nil {
		return fail
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if fail := e.needDurable(turn, "a message that is stored"); fail != nil {
		return fail
	}
	if len(e.changes) >= MaxSends {
		return refuse(connect.CodeResourceExhausted, "the turn has sent %d messages, and no more are taken: let an actor send the rest", MaxSends)
	}
	return e.add(turn.call.activation, o, m)
}

// message is what is stored of a call on its way.
func (o *outgoing) message(turn *turnContext, req proto.Message) (*statev1.Message, *failure) {
	m := &statev1.Message{
		Kind: o.identity, Key: o.key, Method: o.spec.name, Level: uint32(o.level), Task: uint32(o.errand.Task), Headers: maps.Clone(o.headers),
		Hops: turn.call.hops + 1, MaxAttempts: uint32(o.spec.opts.Retry.MaxAttempts), TimeoutNanos: int64(o.spec.opts.Timeout),
	}
	if o.errand.Task == link.TaskAccept {
		m.Task = uint32(link.TaskDeliver)
	} else {
		m.Timer, m.EveryNanos = o.errand.Name, int64(o.errand.Every)
		m.DueNanos = nanosFromNow(o.errand.After)
	}
	if req == nil {
		return m, nil
	}
	var err error
	if m.Payload, err = proto.Marshal(req); err != nil {
		return nil, refuse(connect.CodeInvalidArgument, "the request of %s cannot be encoded: %v", o.spec.path(), err)
	}
	return m, nil
}

// add puts a message among what the turn's commit stores. e.mu is held.
func (e *effects) add(a *activation, o *outgoing, m *statev1.Message) *failure {
	d, p := e.durable, a.shard.post
	own := o.actor() == a.id()
	d.batch.mu.Lock()
	have := d.journal.Counts()
	d.batch.mu.Unlock()
	if task := link.Task(m.GetTask()); task != link.TaskUnschedule || !own {
		if fail := a.roomFor(have, proto.Size(m)); fail != nil {
			return fail
		}
	}
	pending := len(e.booked) + have.Outbox + have.Dead
	switch task := link.Task(m.GetTask()); {
	case m.GetHops() > MaxHops && task == link.TaskDeliver:
		sequence := p.ledger.next()
		e.changes = append(e.changes, journal.PutDead(sequence, deadRow(m, &statev1.Trouble{Reason: "the message is the latest of a chain of more than 100 messages: does it run in a circle?"})))
	case own && task == link.TaskUnschedule:
		e.changes = append(e.changes, journal.RemoveTimer(m.GetTimer()))
	case own && task == link.TaskSchedule:
		if fail := a.roomForTimer(have.Timers + len(e.changes)); fail != nil {
			return fail
		}
		e.changes = append(e.changes, journal.PutTimer(m.GetTimer(), timerRow(m, p.ledger.next())))
	case own:
		if fail := a.roomInInbox(have.Inbox + have.Dead + len(e.changes)); fail != nil {
			return fail
		}
		sequence := p.ledger.next()
		id := guarantee.CallID{Session: p.caller, Sequence: sequence}
		e.changes = append(e.changes, journal.PutInbox(sequence, &statev1.InboxRow{Message: m, Sender: p.caller + "/" + a.self.key, CallId: id.String()}))
	case pending >= MaxOutbox:
		return refuse(connect.CodeResourceExhausted, "%s has %d messages that are not delivered yet, and no more are taken: see DeadLetters for what fails", a.self.kind, pending)
	default:
		sequence := p.ledger.book(o.actor())
		e.booked = append(e.booked, booking{o.actor(), sequence})
		row := &statev1.OutboxRow{Message: m}
		e.outbox = append(e.outbox, journal.Outgoing{Sequence: sequence, Row: row})
		e.changes = append(e.changes, journal.PutOutbox(sequence, row))
	}
	return nil
}

// roomFor refuses a message or timer that is too large, or would make too much of
// what the actor has to be loaded with.
func (a *activation) roomFor(have journal.Counts, size int) *failure {
	if size > journal.MaxItem {
		f := refuse(connect.CodeResourceExhausted, "a message that is to be stored has %d bytes, at most %d are taken: store the bulk elsewhere and send where it is", size, journal.MaxItem)
		f.final = true
		return f
	}
	if have.Bytes+size > MaxPending {
		return refuse(connect.CodeResourceExhausted, "the messages and timers of %s take %d bytes, and at most %d are taken: send less, or see DeadLetters for what fails", a.self.kind, have.Bytes, MaxPending)
	}
	return nil
}

// roomForTimer and roomInInbox refuse one more than an actor may have.
func (a *activation) roomForTimer(have int) *failure {
	if have >= MaxTimers {
		return refuse(connect.CodeResourceExhausted, "%s has %d timers, and no more are taken", a.self.kind, have)
	}
	return nil
}

func (a *activation) roomInInbox(have int) *failure {
	if have >= MaxInbox {
		return refuse(connect.CodeResourceExhausted, "%s has %d messages to handle or that have failed, and no more are taken: call less often, and see DeadLetters for what fails", a.self.kind, have)
	}
	return nil
}
