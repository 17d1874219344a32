package cajun

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/link"
	"github.com/cajun-go/cajun/member"
)

// take runs the turn of one call, from admission to reply. It reports whether the
// reply waits until something is stored.
func (a *activation) take(c *call) (waits bool) {
	if !c.start() {
		a.passOver(c)
		return false
	}
	answered := false
	defer func() {
		switch {
		case answered:
		case a.fallen: // in another turn, which had to be ended before this one
			a.finish(c, result{fail: unavailable("an earlier turn of the actor has ended its goroutine")})
		default: // the handler called runtime.Goexit
			a.abandonTurn(c)
			a.finish(c, result{fail: a.undone(c, endedGoroutine(c))})
		}
	}()
	r := a.result(c)
	r, waits = a.hold(c, r)
	answered = true
	if !waits {
		a.finish(c, r)
	}
	return waits
}

// endedGoroutine is the failure of a turn whose handler called runtime.Goexit.
func endedGoroutine(c *call) *failure {
	f := refuse(connect.CodeInternal, "the handler of %s ended its goroutine instead of returning", c.method.spec.path())
	f.outcome = guarantee.NotCommitted
	return f
}

// abandonTurn gives up a turn whose handler has ended its goroutine.
func (a *activation) abandonTurn(c *call) {
	e := c.turn.endEffects()
	e.cancel(a.shard.post)
	a.forget()
	if e.hasIntent() {
		a.lookLater(intentPause.Pause(1, rand.Float64()))
	}
}

// result runs the turn of a call that has not been withdrawn.
func (a *activation) result(c *call) result {
	if fail := a.admit(c); fail != nil {
		return result{fail: fail}
	}
	if a.durable != nil && a.durable.isLost() {
		a.drop()
	}
	if a.durable == nil && a.needsStore(c) {
		if fail := a.load(); fail != nil {
			return result{fail: fail}
		}
	}
	if a.hasIntent() && !a.finishIntent() {
		return result{fail: a.shard.notOwner()}
	}
	if c.errand.Task > link.TaskDeliver {
		return a.errand(c)
	}
	r := a.answerTo(c)
	if a.durable != nil && a.durable.waits() {
		return r
	}
	// The reply leaves only from an owner: the lease and the shard are looked at
	// again, as the turn may have taken long.
	if fail := a.mayAnswer(); fail != nil {
		return result{fail: fail}
	}
	return r
}

// needsStore reports whether a call needs what is stored of the actor. One without
// state is loaded to remember calls, for its messages, and to know of a turn that
// has to be finished first.
func (a *activation) needsStore(c *call) bool {
	return a.shard.node.journal != nil && (a.shard.host.newState != nil || a.open.Load() || c.looksUp() || c.errand.Task > link.TaskDeliver || !a.shard.post.isRecovered())
}

// answerTo finds the stored answer to a call, or else runs its turn.
func (a *activation) answerTo(c *call) result {
	if c.looksUp() {
		if r, done := a.recall(c); done {
			return r
		}
	}
	if a.actor == nil {
		if fail := a.activate(); fail != nil {
			return a.refused(c, fail)
		}
	}
	r := a.turn(c)
	if r.fail != nil && r.fail.outcome == guarantee.NotExecuted {
		return a.refused(c, r.fail)
	}
	return r
}

// refused is the answer to a call whose handler was not run and would not be if
// the call came again. A turn that has made the call takes that for an answer, so
// it is stored like one: neither a later run of that turn nor an attempt that is
// still on its way may find the actor in a better mood.
func (a *activation) refused(c *call, fail *failure) result {
	if transient(fail) || !c.nested || !c.remembered() {
		return result{fail: fail}
	}
	if a.durable == nil {
		if fail := a.load(); fail != nil {
			return result{fail: fail}
		}
	}
	answer := *fail
	answer.outcome = guarantee.Answered
	return a.commit(c, nil, &answer, nil)
}

// admit looks once more, just before the turn, whether the call may run.
func (a *activation) admit(c *call) *failure {
	n := a.shard.node
	if a.shard.phase.Load() == shardGone {
		return a.shard.notOwner()
	}
	if err := n.session.Check(); err != nil {
		return unavailable("the node that held the actor cannot serve now: %v", err)
	}
	if c.remote.peer == nil {
		return nil // a local caller withdraws what it gives up
	}
	if cause := c.turn.interruption(); cause != nil {
		return interrupted(cause, guarantee.NotExecuted, "before the actor got to it")
	}
	return nil
}

// mayAnswer waits out a suspension and reports whether this node still speaks
// for the actor.
func (a *activation) mayAnswer() *failure {
	session := a.shard.node.session
	for {
		err := session.Check()
		if a.shard.phase.Load() == shardGone {
			break
		}
		if err == nil {
			return nil
		}
		st, changed := session.State()
		if st.Phase == member.Lost || st.Phase == member.Closed || a.shard.ctx.Err() != nil {
			break
		}
		if st.Phase == member.Suspended {
			select {
			case <-changed:
			case <-a.shard.ctx.Done():
			}
		}
	}
	return lost("the actor's node lost it while the call ran")
}

// turn answers a call whose actor is in memory.
func (a *activation) turn(c *call) result {
	c.durable = a.durable
	if fail := a.brokenAnswer(c); fail != nil {
		return a.commit(c, nil, fail, nil)
	}
	reply, fail := a.handle(c)
	e := c.turn.endEffects()
	if fail != nil && fail.outcome == guarantee.Answered {
		// What a handler says whose shard is gone, or who was cut short in the
		// middle of calls to others, is no answer: the next run may say better.
		if a.shard.ctx.Err() != nil {
			fail = a.cutShort(errMoved)
		} else if cause := c.turn.interruption(); cause != nil && e.hasIntent() {
			fail = a.cutShort(cause)
		}
	}
	switch {
	case e.isUnresolved():
		fail = runsAgain(fail)
	case e != nil && e.unstorable != nil:
		fail = e.unstorable // whatever the handler makes of that
	}
	if fail != nil && fail.outcome != guarantee.Answered {
		e.cancel(a.shard.post)
		if a.shard.host.newState == nil && a.actor != nil && fail.outcome == guarantee.NotCommitted && !c.durableOneWay() {
			// What it did to an actor without durable state cannot be undone. Of a
			// message, that is no news: it is handled again.
			fail.defect = fail.isDefect()
			fail.outcome = guarantee.MaybeExecuted
		}
		if a.durable != nil && a.durable.rollback() != nil {
			a.forget()
		}
		return result{fail: a.undone(c, fail)}
	}
	r := result{message: reply, fail: fail}
	if a.durable != nil {
		r = a.commit(c, reply, fail, e)
	}
	if r.fail == nil {
		a.publish(c)
	}
	if r.fail != nil && r.fail.outcome != guarantee.Answered {
		r.fail = a.undone(c, r.fail)
	}
	return r
}

// undone is the failure of a turn of which nothing was stored. If it has called
// others, it is not at its end all the same.
func (a *activation) undone(c *call, f *failure) *failure {
	if c.intent != 0 || !c.turn.hasIntent() {
		return f
	}
	a.lookAgain()
	return runsAgain(f)
}

// handle runs the handler, with the node's interceptors around it. The outcome
// of a failure is Answered when the handler itself said no.
func (a *activation) handle(c *call) (reply proto.Message, fail *failure) {
	defer func() {
		if p := recover(); p != nil {
			c.turn.endEffects() // before what its goroutines may be loading is dropped
			a.shard.node.logger.Error("a handler panicked; the actor's memory is dropped",
				"kind", a.self.kind, "method", c.method.spec.name, "call_id", c.logID(),
				"shard", a.shard.id.Number, "epoch", a.shard.epoch, "panic", p, "stack", string(debug.Stack()))
			a.forget()
			reply, fail = nil, &failure{
				code:    connect.CodeInternal,
				message: fmt.Sprintf("the handler of %s.%s panicked; its stack is in the log of node %s", a.self.kind, c.method.spec.name, a.shard.node.Name()),
				outcome: guarantee.NotCommitted,
			}
		}
	}()
	ctx := context.Context(&c.turn)
	var f *feed
	if c.method.spec.streams {
		if f, fail = a.newFeed(c); fail != nil {
			return nil, fail
		}
		ctx = streamContext{f}
	}
	var err error
	if intercepted := a.shard.node.inbound; intercepted != nil {
		reply, err = intercepted(ctx, c.describe(), c.req)
	} else {
		reply, err = c.method.invoke(a.actor, ctx, c.req)
	}
	if err == nil {
		if fail := c.method.checkReply(reply, a.shard.node.config.maxMessage); fail != nil {
			return nil, fail
		}
		if f != nil && f.events == nil {
			fail := refuse(connect.CodeInternal, "an inbound interceptor returned no error, although there is no stream of %s: return what next returned, or an error", c.method.spec.path())
			fail.outcome = guarantee.NotCommitted
			return nil, fail
		}
		return reply, nil
	}
	if a.shard.node.inbound != nil && !c.reached {
		// An interceptor's refusal is no answer of the actor: a repeat of the
		// call must not be told of it once the interceptor would let it pass.
		f := answer(err)
		f.outcome = guarantee.NotExecuted
		// A turn that was let in before is only put off by what may pass.
		f.retryable = c.intent != 0 && (f.code == connect.CodeUnavailable || f.code == connect.CodeResourceExhausted)
		return nil, f
	}
	if cause := c.turn.interruption(); cause != nil && isContextError(err) {
		// Not an answer: a repeat of the call must not be told that the first
		// caller ran out of time.
		return nil, a.cutShort(cause)
	}
	return nil, answer(err)
}

// cutShort is the failure of a turn whose context ended and whose handler gave
// up because of it.
func (a *activation) cutShort(cause error) *failure {
	if errors.Is(cause, errMoved) || a.shard.phase.Load() == shardGone {
		f := lost("the actor's shard left its node while the call ran")
		f.outcome = guarantee.NotCommitted
		return f.because(cause)
	}
	return interrupted(cause, guarantee.NotCommitted, "while the handler ran")
}

func isContextError(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	code := connect.CodeOf(err)
	return code == connect.CodeCanceled || code == connect.CodeDeadlineExceeded
}

// activate brings the actor into memory.
func (a *activation) activate() (fail *failure) {
	defer func() {
		if p := recover(); p != nil {
			a.shard.node.logger.Error("an actor panicked while it was activated",
				"kind", a.self.kind, "shard", a.shard.id.Number, "epoch", a.shard.epoch, "panic", p, "stack", string(debug.Stack()))
			a.forget()
			fail = refuse(connect.CodeInternal, "%s panicked while it was activated; its stack is in the log of node %s", a.self.kind, a.shard.node.Name())
		}
	}()
	host := a.shard.host
	var state proto.Message
	if host.newState != nil {
		if a.durable == nil { // it is there when the owner has looked after the actor
			if fail := a.load(); fail != nil {
				return fail
			}
		}
		state = a.durable.state
	}
	actor, err := host.spawn(&a.self, state)
	if err == nil && isNil(actor) {
		err = errors.New("the function that makes it returned nil")
	}
	if err != nil {
		a.forget()
		return notActivated(a.self.kind, err)
	}
	a.actor = actor
	if hook, ok := actor.(Activator); ok {
		if err := a.runHook(hook.OnActivate); err != nil {
			a.forget()
			return notActivated(a.self.kind, err)
		}
	}
	if state != nil {
		if fail := a.durable.rebase(state); fail != nil {
			a.forget()
			return fail
		}
	}
	return nil
}

func notActivated(kind string, err error) *failure {
	f := answer(err)
	f.message = fmt.Sprintf("%s could not be activated: %s", kind, f.message)
	f.outcome = guarantee.NotExecuted
	return f
}

// deactivate takes the actor out of memory in good order.
func (a *activation) deactivate() {
	defer a.forget()
	hook, ok := a.actor.(Passivator)
	if !ok || a.shard.phase.Load() == shardGone {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			a.shard.node.logger.Error("OnPassivate panicked", "kind", a.self.kind, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if err := a.runHook(hook.OnPassivate); err != nil {
		a.shard.node.logger.Warn("OnPassivate failed", "kind", a.self.kind, "error", err)
	}
}

// forget drops the actor's memory: it is ahead of the store, or not wanted any
// more. The next call activates it anew.
func (a *activation) forget() {
	_ = a.flush()
	a.drop()
}

// drop is forget for an actor whose memory is worth nothing any more.
func (a *activation) drop() {
	a.actor, a.durable = nil, nil
	a.mu.Lock()
	a.attention.loaded = false
	a.mu.Unlock()
	a.endFeeds(errLeft)
}
