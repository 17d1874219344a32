package cajun

import (
	"sync"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
)

// effects is what a handler does besides changing its state that is to outlive
// its turn: the messages that it sends and the timers that it sets are stored
// with the turn's commit, and its calls to other actors above AT_MOST_ONCE are
// made under an intent. A handler may do this from several goroutines.
type effects struct {
	mu     sync.Mutex
	closed bool
	// durable is the actor's durable part, loaded for an actor without state
	// when it is first needed.
	durable *durable
	// booked are the messages to other actors among changes.
	booked  []booking
	outbox  []journal.Outgoing
	changes []journal.Change
	// intent is the number of the turn's intent, 0 while it has none. parts
	// counts the calls under it, and called those to each actor.
	intent uint64
	parts  map[partKey]uint32
	called map[actorID]int
	// underway counts those that have not returned, and unresolved says that one
	// of them ended without an answer; lost are the actors that were to give it.
	underway   int
	unresolved bool
	lost       []string
	// refusal is of a call that an earlier run may have made with effect: the
	// handler must not take it for an answer.
	refusal *failure
	// believes says that the handler takes it for one all the same.
	believes bool
	// unstorable is why the turn can never have an intent.
	unstorable *failure
}

// booking is a message that has its number and may or may not be stored.
type booking struct {
	to       actorID
	sequence uint64
}

// partKey tells the calls of one turn apart, with a running number for each.
type partKey struct {
	to     actorID
	method string
}

// effects returns what collects the turn's effects, or nil once the turn has
// ended.
func (t *turnContext) effects() *effects {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.effect == nil && !t.ended {
		t.effect = &effects{durable: t.call.durable}
	}
	if t.ended {
		return nil
	}
	return t.effect
}

// endEffects ends the collecting: what a handler does after it has returned is
// refused. It returns nil when there is nothing.
func (t *turnContext) endEffects() *effects {
	t.mu.Lock()
	e := t.effect
	t.ended = true
	t.mu.Unlock()
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.underway > 0 {
		e.unresolved = true // the handler has not waited for a call of its own
	}
	return e
}

// needDurable loads the durable part of an actor that has had no use for it so
// far. e.mu is held.
func (e *effects) needDurable(t *turnContext, what string) *failure {
	c := t.call
	if e.closed || t.over() {
		return turnIsOver()
	}
	if c.method.spec.opts.NoSideEffects {
		return failedPrecondition("%s has no side effects, and %s would be one: take the option off the method", c.method.spec.path(), what)
	}
	if e.durable != nil {
		return nil
	}
	a := c.activation
	if a.durable == nil {
		if fail := a.load(); fail != nil {
			return fail
		}
	}
	if a.durable.intent {
		a.lookAgain()
		return unavailable("the actor has a turn to finish first")
	}
	e.durable = a.durable
	return nil
}

// cancel gives back what a turn has booked that will not be stored.
func (e *effects) cancel(p *post) {
	if e == nil {
		return
	}
	for _, b := range e.booked {
		p.ledger.end(b.to, b.sequence)
	}
	e.booked, e.outbox, e.changes = nil, nil, nil
}

// isUnresolved reports whether the turn has to be run again, whatever its
// handler has returned.
func (e *effects) isUnresolved() bool { return e != nil && e.intent != 0 && e.unresolved }

func (e *effects) hasIntent() bool { return e != nil && e.intent != 0 }

// hasIntent reports whether the turn, which is over, has called others under an
// intent.
func (t *turnContext) hasIntent() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.effect.hasIntent()
}

// runsAgain is the failure of a turn that will be run again without its caller.
func runsAgain(fail *failure) *failure {
	f := lost("a call of the handler to another actor ended without an answer, and the turn is run again")
	if fail != nil {
		f.message = "the turn has called other actors and is run again: " + fail.message
		f.cause = fail.cause
	}
	f.outcome = guarantee.MaybeExecuted
	return f
}
