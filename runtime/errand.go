package cajun

import (
	"math/rand/v2"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
	"github.com/cajun-go/cajun/link"
)

// errandSpec is what the senders of errands that are about no method, and their
// receivers, know of the messages.
func errandSpec(kind *Kind) *methodSpec {
	return &methodSpec{kind: kind, name: "(errand)", request: typeOf[*statev1.Message](), reply: typeOf[*statev1.DeadList]()}
}

// errand answers a request about durable messages, for which the actor itself is
// not needed. Its effect and the answer are stored together.
func (a *activation) errand(c *call) result {
	d := a.durable
	if c.errand.Task == link.TaskListDead {
		d.batch.mu.Lock()
		defer d.batch.mu.Unlock()
		return result{message: listDead(d.journal)}
	}
	if r, done := a.recall(c); done {
		return r
	}
	d.batch.mu.Lock()
	changes, then, fail := a.errandChanges(c, d.journal)
	d.batch.mu.Unlock()
	if fail != nil {
		return result{fail: fail}
	}
	turn := journal.Turn{State: d.base, Call: c.id, Method: c.method.spec.name, Watermark: c.watermark, Open: c.open, Changes: changes, Settles: c.errand.Task > link.TaskUnschedule}
	turn.Reply = &statev1.Reply{Sequence: c.id.Sequence, Part: c.id.Part, RequestHash: c.hash}
	return a.stage(turn, storedResult(turn.Reply), func(err error) {
		if then != nil {
			then(err)
		}
		if err != nil {
			a.lookLater(recoveryPause.Pause(2, rand.Float64()))
			return
		}
		a.lookAgain()
	})
}

// errandChanges is what an errand does to the actor's items. then is to be told
// whether that is stored, if it is not nil.
func (a *activation) errandChanges(c *call, j *journal.Actor) (changes []journal.Change, then func(error), fail *failure) {
	have := j.Counts()
	var m *statev1.Message
	if c.errand.Task <= link.TaskSchedule {
		if m, fail = c.message(a); fail == nil {
			fail = a.roomFor(have, proto.Size(m))
		}
		if fail != nil {
			return nil, nil, fail
		}
	}
	switch c.errand.Task {
	case link.TaskAccept:
		if fail := a.roomInInbox(have.Inbox + have.Dead); fail != nil {
			return nil, nil, fail
		}
		row := &statev1.InboxRow{Message: m, Sender: c.id.Session, CallId: c.idString()}
		if row.Sender == "" {
			row.Sender = c.idString()
		}
		return []journal.Change{journal.PutInbox(a.shard.post.ledger.next(), row)}, nil, nil
	case link.TaskSchedule:
		if j.TimerNamed(c.errand.Name) == nil {
			if fail := a.roomForTimer(have.Timers); fail != nil {
				return nil, nil, fail
			}
		}
		m.Timer, m.DueNanos, m.EveryNanos = c.errand.Name, nanosFromNow(c.errand.After), int64(c.errand.Every)
		return []journal.Change{journal.PutTimer(m.GetTimer(), timerRow(m, a.shard.post.ledger.next()))}, nil, nil
	case link.TaskUnschedule:
		if j.TimerNamed(c.errand.Name) == nil {
			return nil, nil, nil
		}
		return []journal.Change{journal.RemoveTimer(c.errand.Name)}, nil, nil
	}
	return a.deadChanges(c, j)
}

// message is what is stored of a one-way call that the actor accepts.
func (c *call) message(a *activation) (*statev1.Message, *failure) {
	payload, err := proto.Marshal(c.req)
	if err != nil {
		return nil, unreadable(err)
	}
	spec := c.method.spec
	return &statev1.Message{
		Kind: spec.kind.Name, Key: a.self.key, Method: spec.name, Payload: payload, Task: uint32(link.TaskDeliver),
		Level: uint32(max(spec.declared(guarantee.Unspecified), guarantee.AtLeastOnce)), Headers: c.headers, Hops: c.hops,
		MaxAttempts: uint32(spec.opts.Retry.MaxAttempts), TimeoutNanos: int64(spec.opts.Timeout),
	}, nil
}
