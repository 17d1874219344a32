package cajun

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	statev1 "github.com/cajun-go/cajun/gen/cajun/state/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
)

// maxPanics is how many runs of a turn with an intent may panic, take too long or
// end with something that cannot be stored, before the turn is answered with
// that.
const maxPanics = 5

// maxUnfit is how often a node tries to run a turn whose method it does not have, or
// whose request it cannot read, before the turn is given up: for some minutes, in
// which an upgrade may be finished.
const maxUnfit = 60

// intentPause shapes the pauses before a turn is run again.
var intentPause = guarantee.RetryPolicy{InitialBackoff: 20 * time.Millisecond, MaxBackoff: 5 * time.Second}

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
			a.later, a.durable.intent = nil, false
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

// laterRuns is what is known of the runs of an open turn after the first one.
type laterRuns struct {
	// failed counts those in a row that have failed for a reason of the turn's
	// own, and last is the latest one's.
	failed int
	last   *failure
	// overruns counts those that had too little time, and unfit those on a node
	// that does not have the method.
	overruns, unfit int
	// doubts says that some failed for a refusal that may not be all there is to
	// say, and believes that it is to be the answer now.
	doubts, believes bool
	// waitsFor are the actors without whose answers the latest run has ended.
	waitsFor []string
}

// runIntent runs the turn of an intent once more, and stores what has come of
// it.
func (a *activation) runIntent(intent *statev1.IntentRow) *failure {
	if a.later == nil {
		a.later = new(laterRuns)
	}
	c := a.intentCall(intent)
	if a.actor == nil {
		if fail := a.activate(); fail != nil {
			return fail
		}
		c.turn.effect.durable = a.durable
	}
	previous := a.makeCurrent(c)
	a.fallen = true
	defer func() {
		if a.fallen {
			a.abandonTurn(c)
			fail := runsAgain(endedGoroutine(c))
			joined := a.retire(c)
			c.turn.settleFeed(fail)
			a.answerRepeats(joined, result{fail: fail})
			a.makeCurrent(previous)
		}
	}()
	r := a.laterRun(c)
	a.fallen = false
	if err := a.flush(); err != nil {
		a.later.unstored(notCommitted(err))
	}
	joined := a.retire(c)
	a.makeCurrent(previous)
	c.turn.close()
	c.turn.settleFeed(r.fail)
	if r.fail == nil && (a.durable == nil || a.openIntent() != nil) {
		r.fail = lost("what the turn has done could not be stored")
	}
	a.answerRepeats(joined, r)
	if r.fail != nil && r.fail.outcome != guarantee.Answered {
		return r.fail
	}
	return nil
}

// laterRun runs the turn, or gives it up after too many runs.
func (a *activation) laterRun(c *call) result {
	l := a.later
	if c.unfit != nil {
		if l.unfit++; l.unfit <= maxUnfit {
			return result{fail: c.unfit}
		}
		return a.giveUpIntent(c, c.unfit)
	}
	if l.failed++; l.failed > maxPanics && !a.credulous() {
		return a.giveUpIntent(c, l.last)
	}
	l.last = endedGoroutine(c)
	c.turn.effect.believes = l.believes
	r := a.turn(c)
	l.waitsFor = c.turn.effect.lost
	switch refusal := c.turn.effect.refusal; {
	case refusal != nil && !l.believes:
		l.last, l.doubts = refusal, true
	case r.fail != nil && transient(r.fail):
		l.failed = 0
	default:
		if l.last = r.fail; r.fail != nil && r.fail.isLate() {
			l.overruns++
		}
	}
	return r
}

// unstored notes that what a run has done could not be stored.
func (l *laterRuns) unstored(why *failure) {
	if l.last = why; why.retryable {
		l.failed = 0
	}
}

// credulous reports whether a turn that would be given up for a refusal is to be
// run with the refusal as the call's answer instead. It is not known whether an
// earlier run has made the call; but a handler that can deal with the refusal
// brings its turn to an end.
func (a *activation) credulous() bool {
	l := a.later
	if !l.doubts || l.believes {
		return false
	}
	l.believes, l.failed = true, 1
	a.shard.node.logger.Warn("a call of a turn that is run again is refused again and again; its handler is told so, although an earlier run may have made the call",
		"kind", a.self.kind, "shard", a.shard.id.Number, "error", l.last.message)
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
// its caller. For a method that this node does not have, unfit says so.
func (a *activation) intentCall(intent *statev1.IntentRow) *call {
	h := a.shard.host
	m, fail := h.methodFor(h.kind.Name, intent.GetMethod(), shapeAny, link.TaskCall)
	if fail != nil {
		m = h.errands // a stand-in
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
	c.turn.deadline = time.Now().Add(max(time.Duration(intent.GetTimeoutNanos()), time.Second) << min(a.later.overruns, maxDoublings))
	c.start()
	c.turn.effect = &effects{durable: a.durable, intent: c.intent}
	if c.unfit = fail; fail == nil {
		c.req = m.newRequest()
		if err := proto.Unmarshal(intent.GetPayload(), c.req); err != nil {
			c.unfit = unreadable(err)
		}
	}
	return c
}

// giveUpIntent ends a turn that cannot come to its end: its caller is told the
// failure, for good.
func (a *activation) giveUpIntent(c *call, fail *failure) result {
	a.shard.node.logger.Error("a turn that has called other actors fails again and again; it is given up, and what it has done at others stays",
		"kind", a.self.kind, "method", c.method.spec.name, "call_id", c.logID(), "shard", a.shard.id.Number, "epoch", a.shard.epoch, "error", fail.message)
	if a.durable == nil {
		if fail := a.load(); fail != nil {
			return result{fail: fail}
		}
	}
	answer := *fail
	answer.outcome = guarantee.Answered
	return a.commit(c, nil, &answer, &effects{durable: a.durable, intent: c.intent})
}
