package guarantee

import (
	"cmp"
	"slices"
)

// MaxParts is how many calls of one sequence an actor remembers: those that one
// turn makes to it.
const MaxParts = 64

// MaxOutstanding is how far the EXACTLY_ONCE calls of one caller to one actor
// may reach beyond the lowest outstanding one, that one included and settled
// ones in between counted: an answer is forgotten only when the watermark has
// passed it. The next call waits at the sender.
const MaxOutstanding = 64

// Verdict is what a Window knows of a call.
type Verdict uint8

const (
	// New says that the call was never seen.
	New Verdict = iota
	// Known says that the call was answered; its answer is remembered.
	Known
	// Forgotten says that the caller has acknowledged the call's answer, or
	// given it up, so that nothing is remembered of it.
	Forgotten
	// Full says that the call may be new but MaxOutstanding answers are still
	// unacknowledged, which no honest caller lets happen.
	Full
)

// Window remembers the answers, of any type A, that one caller got from one
// actor and has not acknowledged yet. Its size is bounded: a caller tells with
// each call which of its calls is the lowest outstanding one (the watermark),
// and what lies below is forgotten. The zero value is empty and ready.
type Window[A any] struct {
	watermark uint64
	answers   []entry[A] // ascending by sequence and part
}

type entry[A any] struct {
	sequence, part uint64
	answer         A
}

// Watermark returns the lowest sequence that is not forgotten.
func (w *Window[A]) Watermark() uint64 { return w.watermark }

// Len returns how many answers are remembered.
func (w *Window[A]) Len() int { return len(w.answers) }

// Advance forgets every call below watermark. Watermarks only rise: a lower
// one, from a frame that was overtaken, changes nothing.
func (w *Window[A]) Advance(watermark uint64) {
	if watermark <= w.watermark {
		return
	}
	w.watermark = watermark
	i, _ := w.find(watermark, 0)
	w.answers = slices.Delete(w.answers, 0, i)
}

// Look tells what is known of the call with this sequence and part, and its
// answer if it is Known.
func (w *Window[A]) Look(sequence, part uint64) (A, Verdict) {
	var none A
	i, found := w.find(sequence, part)
	switch {
	case found:
		return w.answers[i].answer, Known
	case sequence < w.watermark:
		return none, Forgotten
	}
	switch parts := w.parts(sequence); {
	case parts >= MaxParts, parts == 0 && len(w.answers) >= MaxOutstanding && w.sequences() >= MaxOutstanding:
		return none, Full
	}
	return none, New
}

// Remember keeps the answer of a call that Look found New.
func (w *Window[A]) Remember(sequence, part uint64, answer A) {
	i, found := w.find(sequence, part)
	if found {
		w.answers[i].answer = answer
		return
	}
	w.answers = slices.Insert(w.answers, i, entry[A]{sequence, part, answer})
}

// Answers calls yield for each remembered answer, in ascending order of sequence
// and part.
func (w *Window[A]) Answers(yield func(answer A) bool) {
	for _, e := range w.answers {
		if !yield(e.answer) {
			return
		}
	}
}

// parts returns how many answers of a sequence are remembered.
func (w *Window[A]) parts(sequence uint64) int {
	first, _ := w.find(sequence, 0)
	n := 0
	for first+n < len(w.answers) && w.answers[first+n].sequence == sequence {
		n++
	}
	return n
}

// sequences counts the sequences among the answers, of which there are at most
// MaxOutstanding.
func (w *Window[A]) sequences() (n int) {
	for i, e := range w.answers {
		if i == 0 || w.answers[i-1].sequence != e.sequence {
			n++
		}
	}
	return n
}

func (w *Window[A]) find(sequence, part uint64) (int, bool) {
	return slices.BinarySearchFunc(w.answers, sequence, func(e entry[A], s uint64) int {
		return cmp.Or(cmp.Compare(e.sequence, s), cmp.Compare(e.part, part))
	})
}
