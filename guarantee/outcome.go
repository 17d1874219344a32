package guarantee

import "fmt"

// Outcome is what a caller may conclude from an error. The zero value is the
// one that promises nothing.
type Outcome uint8

const (
	// MaybeExecuted says that the handler may have run and that what it did
	// may have been kept.
	MaybeExecuted Outcome = iota
	// NotExecuted says that the handler did not run and never will for this
	// call.
	NotExecuted
	// NotCommitted says that the handler ran and that nothing it did to the
	// actor's state was kept.
	NotCommitted
	// Answered says that the handler itself returned the error.
	Answered
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case MaybeExecuted:
		return "MaybeExecuted"
	case NotExecuted:
		return "NotExecuted"
	case NotCommitted:
		return "NotCommitted"
	case Answered:
		return "Answered"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// After is the outcome of a call whose earlier attempts ended with o and
// whose latest attempt ended with latest. An answer settles the call; one
// Maybe makes the whole call Maybe; a handler that ran once without a commit
// is not undone by a later attempt that did not run.
func (o Outcome) After(latest Outcome) Outcome {
	switch {
	case latest == Answered:
		return Answered
	case o == MaybeExecuted || latest == MaybeExecuted:
		return MaybeExecuted
	case o == NotCommitted || latest == NotCommitted:
		return NotCommitted
	}
	return NotExecuted
}
