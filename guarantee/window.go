package guarantee

import "slices"

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
	answers   []entry[A] // ascending by sequence, at most MaxOutstanding
}

type entry[A any] struct {
	sequence uint64
	answer   A
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
	i, _ := w.find(watermark)
	w.answers = slices.Delete(w.answers, 0, i)
}

// Look tells what is known of the call with this sequence, and its answer if
// it is Known.
func (w *Window[A]) Look(sequence uint64) (A, Verdict) {
	var none A
	i, found := w.find(sequence)
	switch {
	case found:
		return w.answers[i].answer, Known
	case sequence < w.watermark:
		return none, Forgotten
	case len(w.answers) >= MaxOutstanding:
		return none, Full
	}
	return none, New
}

// Remember keeps the answer of a call that Look found New.
func (w *Window[A]) Remember(sequence uint64, answer A) {
	i, found := w.find(sequence)
	if found {
		w.answers[i].answer = answer
		return
	}
	w.answers = slices.Insert(w.answers, i, entry[A]{sequence, answer})
}

// Forget takes back a Remember, for an answer that could not be stored.
func (w *Window[A]) Forget(sequence uint64) {
	if i, found := w.find(sequence); found {
		w.answers = slices.Delete(w.answers, i, i+1)
	}
}

// All calls yield for each remembered answer, in ascending order of sequence.
func (w *Window[A]) All(yield func(sequence uint64, answer A) bool) {
	for _, e := range w.answers {
		if !yield(e.sequence, e.answer) {
			return
		}
	}
}

func (w *Window[A]) find(sequence uint64) (int, bool) {
	return slices.BinarySearchFunc(w.answers, sequence, func(e entry[A], s uint64) int {
		switch {
		case e.sequence < s:
			return -1
		case e.sequence > s:
			return 1
		}
		return 0
	})
}
