package cajun

import (
	"errors"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/journal"
)

// gatherTime is how long the answer of a turn waits at most for further turns
// that share its commit. A batch ends as soon as the mailbox is empty; this is
// for handlers that take long, behind a quick one.
const gatherTime = time.Millisecond

// batch is the turns of one activation that have run and whose answers wait for
// a common commit: what a turn has changed must not be seen outside before it is
// stored, neither in its own reply nor in those of later turns nor in calls that
// these make. The activation's goroutine fills the batch and ends it when its
// mailbox is empty; a nested call and the timer end it from elsewhere, while a
// handler runs.
type batch struct {
	// waiting says that there is something to store; the activation's goroutine
	// may ask it without mu.
	waiting atomic.Bool

	// mu guards the journal's actor, too.
	mu    lock
	held  []held
	timer *time.Timer
	// after is told what has become of the commit.
	after []func(error)
	// lost says that a commit has failed, with err: the memory of the actor is
	// ahead of the store.
	lost bool
	err  error
}

// held is the answer to a call whose turn is over.
type held struct {
	call   *call
	joined []*call
	result result
}

// waits reports whether answers have to wait for a commit.
func (d *durable) waits() bool {
	d.batch.mu.Lock()
	defer d.batch.mu.Unlock()
	return len(d.batch.held) > 0 || d.journal.Waiting() > 0
}

// isLost reports whether a commit has failed.
func (d *durable) isLost() bool {
	d.batch.mu.Lock()
	defer d.batch.mu.Unlock()
	return d.batch.lost
}

// stage adds a turn to the batch, for a result that is to leave once it is
// stored. after is told what has become of the commit, if it is not nil.
func (a *activation) stage(t journal.Turn, r result, after func(error)) result {
	d := a.durable
	d.batch.mu.Lock()
	defer d.batch.mu.Unlock()
	if fail := a.stageLocked(d, t); fail != nil {
		if after != nil {
			after(errors.New(fail.message))
		}
		return result{fail: fail}
	}
	if after != nil {
		d.batch.after = append(d.batch.after, after)
	}
	return r
}

// stageLocked adds a turn to the batch. d.batch.mu is held.
func (a *activation) stageLocked(d *durable, t journal.Turn) *failure {
	if !d.batch.lost && !d.journal.Add(t) {
		_ = a.settle(d)
		if !d.batch.lost {
			d.journal.Add(t)
		}
	}
	if d.batch.lost {
		return lostBefore()
	}
	if !d.batch.waiting.Load() {
		d.batch.waiting.Store(true)
		a.armBatch(d)
	}
	return nil
}

// hold keeps the answer to a call whose turn is over until what the turns up to
// it have changed is stored. It reports false when there is nothing to wait for,
// and the result that is then to be given.
func (a *activation) hold(c *call, r result) (result, bool) {
	d := a.durable
	if d == nil {
		return r, false
	}
	b := &d.batch
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.lost:
		a.drop()
		if r.fail == nil || r.fail.outcome == guarantee.Answered {
			// The turn may have been part of the commit that has failed meanwhile.
			r = result{fail: a.undone(c, notCommitted(b.err))}
		}
		return r, false
	case len(b.held) == 0 && d.journal.Waiting() == 0:
		return r, false
	}
	// The next turn may change what the reply shares with the actor.
	if r.message != nil && !c.method.spec.opts.Immutable {
		payload, err := proto.Marshal(r.message)
		if err != nil {
			r = result{fail: unreadableReply(err)}
		} else {
			r = result{payload: payload, stored: true}
		}
	}
	joined := a.retire(c)
	c.turn.close()
	b.held = append(b.held, held{c, joined, r})
	return result{}, true
}

// depends reports whether a result says anything about the actor's state.
func depends(r result) bool { return r.fail == nil || r.fail.outcome != guarantee.NotExecuted }

// lostBefore is the failure of a turn on top of one that could not be stored.
func lostBefore() *failure {
	return &failure{code: connect.CodeUnavailable, outcome: guarantee.NotCommitted, retryable: true,
		message: "an earlier turn of the actor could not be stored, and with it this one is undone"}
}

// armBatch ends the batch after gatherTime. d.batch.mu is held.
func (a *activation) armBatch(d *durable) {
	if d.batch.timer != nil {
		d.batch.timer.Reset(gatherTime)
		return
	}
	d.batch.timer = time.AfterFunc(gatherTime, func() {
		a.shard.node.tasks.Go(func() {
			d.batch.mu.Lock()
			defer d.batch.mu.Unlock()
			_ = a.settle(d)
		})
	})
}

// flush stores the batch, if there is one, from the activation's own goroutine.
// It returns the error of the commit.
func (a *activation) flush() error {
	d := a.durable
	if d == nil {
		return nil
	}
	d.batch.mu.Lock()
	defer d.batch.mu.Unlock()
	err := a.settle(d)
	if d.batch.lost {
		a.drop()
	}
	return err
}

// settle stores the batch and gives the answers that have waited for it. It
// returns the error of the commit. d.batch.mu is held.
func (a *activation) settle(d *durable) error {
	b := &d.batch
	if b.lost || len(b.held) == 0 && d.journal.Waiting() == 0 {
		return nil
	}
	if b.timer != nil {
		b.timer.Stop()
	}
	all, after := b.held, b.after
	b.held, b.after = nil, nil
	b.waiting.Store(false)
	err := d.journal.Flush(a.shard.ctx)
	if err != nil {
		b.lost, b.err = true, err
		a.noteFence(err)
	}
	for _, told := range after {
		told(err)
	}
	gone := a.mayAnswer()
	for _, h := range all {
		r := h.result
		switch {
		case gone != nil:
			r = result{fail: gone}
		case err != nil && depends(r):
			r = result{fail: a.undone(h.call, notCommitted(err))}
			a.noteBroken(h.call, r.fail)
		}
		h.call.answer(a.shard.node, r)
		a.answerRepeats(h.joined, r)
	}
	return err
}

// settleBefore stores what the turns before this one have changed, as a call is
// about to tell others of it.
func (t *turnContext) settleBefore() *failure {
	d := t.call.durable
	if d == nil {
		return nil
	}
	d.batch.mu.Lock()
	defer d.batch.mu.Unlock()
	if t.over() {
		return turnIsOver()
	}
	_ = t.call.activation.settle(d)
	if d.batch.lost {
		f := lostBefore()
		f.outcome, f.retryable = guarantee.NotExecuted, false
		f.message = "the call was not made, as an earlier turn of the calling actor could not be stored"
		return f
	}
	return nil
}
