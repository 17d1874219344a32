package cajun

import (
	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
)

const (
	// maxBroken is how many runs of one call may fail for a reason of the actor's
	// own before that is the answer.
	maxBroken = 5
	// maxBrokenCalls bounds of how many calls an activation keeps count.
	maxBrokenCalls = 256
)

// brokenID names a call as its repeats do: a key of the caller's own may have been
// used for another one.
type brokenID struct {
	id           guarantee.CallID
	method, hash string
}

func (c *call) brokenID() brokenID { return brokenID{c.id, c.method.spec.name, string(c.hash)} }

// broken counts the runs of calls that have failed for a reason of the actor's
// own, such as a panic or a reply that is too large. Nothing is stored of such a
// run. Other callers are told and decide; but who has called in the middle of a
// turn runs that turn until there is an answer, so after some runs the failure
// becomes the answer and is stored like any other: then the turn gets the same
// however often it is run.
type broken struct {
	runs int
	last *failure
}

// noteBroken counts a run that has ended so.
func (a *activation) noteBroken(c *call, f *failure) {
	if f == nil || !f.defect && !f.isDefect() || !c.nested || !c.remembered() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken == nil || len(a.broken) >= maxBrokenCalls {
		a.broken = make(map[brokenID]broken)
	}
	a.broken[c.brokenID()] = broken{a.broken[c.brokenID()].runs + 1, f}
}

// brokenAnswer returns the answer to a call that has been run often enough, or
// nil.
func (a *activation) brokenAnswer(c *call) *failure {
	if !c.nested {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.broken[c.brokenID()]
	if b.runs < maxBroken {
		return nil
	}
	delete(a.broken, c.brokenID())
	f := *b.last
	f.outcome = guarantee.Answered
	return &f
}

// isDefect reports whether a run has failed for a reason that lies in the actor
// itself: the next run would most likely fail, too.
func (f *failure) isDefect() bool {
	return f.outcome == guarantee.NotCommitted && !f.retryable && !f.isLate()
}

// isLate reports whether there was too little time, or the caller has left.
func (f *failure) isLate() bool {
	return f.interrupted || f.code == connect.CodeDeadlineExceeded || f.code == connect.CodeCanceled
}
