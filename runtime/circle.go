package cajun

import (
	"fmt"
	"slices"

	"connectrpc.com/connect/v2"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
)

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
		if !c.isWithdrawn() && (!c.nested || c.level == guarantee.AtMostOnce || c.isCallOf(open) || run < patientRuns && !c.waitsWith(a.later.waitsFor)) {
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
