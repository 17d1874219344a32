package cajun

import (
	"context"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
)

// Activator is an actor that wants to know when it enters memory, before its
// first turn. An error fails the calls that wait for the actor.
type Activator interface {
	OnActivate(context.Context) error
}

// Passivator is an actor that wants to know when it leaves memory in an orderly
// way: when it was idle, asked for it, or moves. It is not called when a node
// crashes, and not after a panic or a failed commit. State that it changes is
// not stored.
type Passivator interface {
	OnPassivate(context.Context) error
}

// activation is the place of one actor in its owner's memory: its mailbox and,
// while it is active, its instance. An idle activation owns no goroutine; a
// mailbox that fills starts one, which runs turns until the mailbox is empty.
type activation struct {
	shard *shard
	self  Self

	mu         sync.Mutex
	head, tail *call
	queued     int32
	running    bool
	removed    bool
	// passivate says that the actor is to leave memory once its mailbox is empty,
	// idle that it is to leave unless something comes in before it has.
	passivate, idle bool
	// used is when the last turn ended, on the node's coarse clock.
	used      int64
	current   *call
	attention attention
	broken    map[brokenID]broken
	// feeds are the streams of the actor that are open.
	feeds map[*feed]struct{}

	// The instance: nil while the actor is not active. Only the running
	// goroutine touches these.
	actor   any
	durable *durable
	// open says that a turn that has called others may not be at its end.
	open atomic.Bool
	// attending says that the actor's own items are being seen to, and that who
	// does so knows when to do it again.
	attending bool
	// fallen says that a later run of an open turn has ended the goroutine.
	fallen bool
	// later is what is known of those runs, if there are any.
	later *laterRuns
}

func newActivation(s *shard, key string) *activation {
	a := &activation{shard: s, used: s.node.coarse.Load()}
	a.self = Self{n: s.node, kind: s.host.kind.Name, key: key, activation: a}
	return a
}

// path names the actor in messages and call chains.
func (a *activation) path() string { return a.shard.id.Kind + "/" + a.self.key }

// id names the actor across the cluster.
func (a *activation) id() actorID { return actorID{a.shard.id.Kind, a.self.key} }

// enqueue appends a call to the mailbox and sees to it that it will run. It
// reports gone when the activation has left memory. A repeat of a call that is
// here already joins it and waits for the same result.
func (a *activation) enqueue(c *call) (gone bool, fail *failure) {
	c.activation = a
	c.turn.call = c
	inline := c.inline // a wish, granted only to a call that runs at once
	c.inline = false
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.removed {
		return true, nil
	}
	// Looked at again under the lock that sendAway takes: no call slips in
	// behind the one that empties the mailboxes of a draining shard.
	if phase := a.shard.phase.Load(); phase == shardGone || phase == shardDraining && !c.nested {
		return false, a.shard.notOwner()
	}
	if c.repeat {
		if original := a.find(c); original != nil {
			c.original.Store(original)
			original.joined = append(original.joined, c)
			return false, nil
		}
	}
	limit := a.shard.host.capacity
	if c.nested {
		// A turn waits for it, perhaps in a circle with what keeps this mailbox full:
		// it can only be told so once it is in.
		limit *= 2
	}
	if int(a.queued) >= limit {
		return false, refuse(connect.CodeResourceExhausted,
			"the mailbox of %s is full (%d messages): call less often, shard the work over more actors, or raise mailbox_capacity", a.shard.host.kind.Name, a.queued)
	}
	if inline && !a.running && !a.passivate && !a.open.Load() {
		c.inline = true
		a.running = true
		a.current = c
		a.shard.enter()
		return false, nil
	}
	if a.tail == nil {
		a.head = c
	} else {
		a.tail.next = c
	}
	a.tail = c
	a.queued++
	a.wake()
	return false, nil
}

// runInline runs the turn of a call that enqueue left to its caller, on the
// caller's goroutine, and reports whether it had to store something. What came
// into the mailbox meanwhile is left to a worker.
func (a *activation) runInline(c *call) (stored bool) {
	returned := false
	defer func() {
		a.mu.Lock()
		more := a.head != nil || a.passivate || a.attention.wanted || !returned
		if !more {
			a.running = false
			a.used = a.shard.node.coarse.Load()
		}
		a.mu.Unlock()
		if more {
			a.shard.node.workers.run(a)
			return
		}
		a.shard.leave()
	}()
	if stored = a.take(c); stored {
		_ = a.flush() // nobody else waits for the answer
	}
	returned = true
	return stored
}

// find returns the call that c repeats, if it is running or queued here. a.mu
// is held.
func (a *activation) find(c *call) *call {
	if a.current != nil && c.repeats(a.current) && a.current.state.Load() != callDone {
		return a.current
	}
	for q := a.head; q != nil; q = q.next {
		if c.repeats(q) && q.state.Load() == callQueued {
			return q
		}
	}
	return nil
}

// wake starts the activation's goroutine unless it runs. a.mu is held.
func (a *activation) wake() {
	if !a.running {
		a.running = true
		a.shard.enter()
		a.shard.node.workers.run(a)
	}
}

// run runs turns until there is nothing left to do.
func (a *activation) run() {
	returned := false
	defer func() {
		if !returned { // a handler ended its goroutine; the mailbox is still there
			a.shard.node.workers.run(a)
			return
		}
		a.shard.leave()
	}()
	a.runTurns()
	returned = true
}

func (a *activation) runTurns() {
	a.fallen = false
	for {
		switch c, next := a.pop(); next {
		case nextTurn:
			a.take(c)
		case nextAttention:
			a.attend()
		case nextFlush:
			_ = a.flush()
		case nextPassivation:
			a.deactivate()
			if a.leaveMemory() {
				return
			}
		case nextNothing:
			return
		}
	}
}

// What an activation does next.
const (
	nextTurn = iota
	// nextAttention sees to the actor's own items.
	nextAttention
	// nextFlush stores what the turns so far have changed.
	nextFlush
	nextPassivation
	nextNothing
)

// pop takes the next call from the mailbox. With an empty mailbox it tells what
// else there is to do; if nothing, the run has ended.
func (a *activation) pop() (c *call, next int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.takeAttention() {
		return nil, nextAttention
	}
	if c = a.head; c != nil {
		if a.head = c.next; a.head == nil {
			a.tail = nil
		}
		c.next = nil
		a.queued--
		a.current = c
		a.idle = false
		return c, nextTurn
	}
	if a.durable != nil && a.durable.batch.waiting.Load() {
		return nil, nextFlush
	}
	if a.passivate || a.idle {
		return nil, nextPassivation
	}
	a.running = false
	a.used = a.shard.node.coarse.Load()
	return nil, nextNothing
}

// finish hands a turn's result to everybody who waits for it.
func (a *activation) finish(c *call, r result) {
	a.noteBroken(c, r.fail)
	joined := a.retire(c)
	c.turn.close()
	c.answer(a.shard.node, r)
	a.answerRepeats(joined, r)
}

// passOver ends a call whose caller has withdrawn it. Repeats that joined it
// may come from somebody who still waits.
func (a *activation) passOver(c *call) {
	a.answerRepeats(a.retire(c), result{fail: interrupted(context.Canceled, guarantee.NotExecuted, "before the actor got to it")})
}

// retire takes a call out of the activation and returns the repeats that
// joined it. None can join it any more.
func (a *activation) retire(c *call) (joined []*call) {
	a.mu.Lock()
	defer a.mu.Unlock()
	joined, c.joined = c.joined, nil
	if a.current == c {
		a.current = nil
	}
	c.state.Store(callDone)
	return joined
}

// answerRepeats hands the result of a call to its repeats.
func (a *activation) answerRepeats(joined []*call, r result) {
	if len(joined) > 0 && r.fail != nil && r.fail.interrupted && (r.fail.code != connect.CodeDeadlineExceeded || joined[0].id.Key != "") {
		// Whoever repeats the call still waits: it was another one who left. The
		// deadline is that of all attempts, unless they come from several callers.
		r.fail = &failure{code: connect.CodeUnavailable, outcome: r.fail.outcome, retryable: true, message: "an earlier attempt was given up: " + r.fail.message}
	}
	for _, j := range joined {
		r.replayed = j.id.Key != "" && !j.repeat
		j.answer(a.shard.node, r)
	}
}

// sendAway fails every queued call of callers outside running chains.
func (a *activation) sendAway(why *failure) {
	a.mu.Lock()
	gone := a.shard.phase.Load() == shardGone
	var away *call
	var kept, last *call
	for c := a.head; c != nil; {
		next := c.next
		c.next = nil
		if gone || !c.nested {
			c.next, away = away, c
			a.queued--
		} else if last == nil {
			kept, last = c, c
		} else {
			last.next, last = c, c
		}
		c = next
	}
	a.head, a.tail = kept, last
	a.mu.Unlock()
	for c := away; c != nil; {
		next := c.next
		c.next = nil
		if c.start() {
			a.finish(c, result{fail: why})
		} else {
			a.passOver(c)
		}
		c = next
	}
}

// interrupt ends the context of the running turn.
func (a *activation) interrupt(cause error) {
	a.mu.Lock()
	c := a.current
	a.mu.Unlock()
	if c != nil {
		c.turn.end(cause)
	}
}

// requestPassivation makes the actor leave memory once its mailbox is empty.
func (a *activation) requestPassivation() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.removed {
		return
	}
	a.passivate = true
	a.wake()
}

// passivateIfIdle asks for passivation when the actor was last used before
// the given time of the coarse clock.
func (a *activation) passivateIfIdle(before int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.running && !a.removed && a.used <= before && len(a.feeds) == 0 {
		a.idle = true
		a.wake()
	}
}

// leaveMemory removes the activation from its shard. It reports false when
// calls came in meanwhile: the actor is then activated anew.
func (a *activation) leaveMemory() bool {
	a.mu.Lock()
	a.passivate, a.idle = false, false
	if a.head != nil || a.needsAttention() || a.attention.hasBusiness() && a.shard.phase.Load() == shardServing {
		a.mu.Unlock()
		return false
	}
	a.removed = true
	a.mu.Unlock()
	a.shard.remove(a)
	return true
}
