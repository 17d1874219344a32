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

const (
	// MaxTurns is how many turns of a shard's actors one actor remembers calls
	// of. They do not wait for each other at the sender, as one could be a part of
	// the other, so there is room for more of them.
	MaxTurns = 1024
	// MaxOpen is how many open turns a caller excepts from its watermark: so many
	// may take long before those that began later are remembered for that time.
	MaxOpen = 64
)

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
	// Full says that the call may be new but there is no room to remember it:
	// MaxOutstanding sequences, MaxTurns turns or MaxParts calls of this one are
	// remembered already.
	Full
)

// Window remembers the answers, of any type A, that one caller got from one
// actor and has not acknowledged yet. Its size is bounded: a caller tells with
// each call below which of its calls (the watermark), with some exceptions, none
// will come again, and those are forgotten. The zero value is empty and ready.
type Window[A any] struct {
	watermark uint64
	open      []uint64   // below watermark and not forgotten, ascending
	answers   []entry[A] // ascending by sequence and part
}

type entry[A any] struct {
	sequence, part uint64
	answer         A
}

// Watermark returns the sequence below which all are forgotten but those that
// Open returns.
func (w *Window[A]) Watermark() uint64 { return w.watermark }

// Open returns the sequences below the watermark that may still come, ascending.
func (w *Window[A]) Open() []uint64 { return w.open }

// Len returns how many answers are remembered.
func (w *Window[A]) Len() int { return len(w.answers) }

// Advance forgets every call below watermark, but those of the sequences that
// are open, in ascending order. What is forgotten remains so: a frame that was
// overtaken changes nothing.
func (w *Window[A]) Advance(watermark uint64, open ...uint64) {
	if len(open) == 0 && len(w.open) == 0 {
		if watermark > w.watermark {
			w.watermark = watermark
			i, _ := w.find(watermark, 0)
			w.answers = slices.Delete(w.answers, 0, i)
		}
		return
	}
	before, wasOpen := w.watermark, w.open
	forgotten := func(s, below uint64, open []uint64) bool {
		_, excepted := slices.BinarySearch(open, s)
		return s < below && !excepted
	}
	w.watermark = max(before, watermark)
	w.open = nil
	for _, s := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(wasOpen, open)))) {
		if s < w.watermark && !forgotten(s, before, wasOpen) && !forgotten(s, watermark, open) {
			w.open = append(w.open, s)
		}
	}
	w.answers = slices.DeleteFunc(w.answers, func(e entry[A]) bool { return forgotten(e.sequence, w.watermark, w.open) })
}

// Look tells what is known of the call with this sequence and part, and its
// answer if it is Known.
func (w *Window[A]) Look(sequence, part uint64) (A, Verdict) {
	var none A
	i, found := w.find(sequence, part)
	switch {
	case found:
		return w.answers[i].answer, Known
	case sequence < w.watermark && !slices.Contains(w.open, sequence):
		return none, Forgotten
	}
	limit := MaxOutstanding
	if part != 0 {
		limit = MaxTurns
	}
	switch parts := w.parts(sequence); {
	case parts >= MaxParts, parts == 0 && len(w.answers) >= limit && w.sequences() >= limit:
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

// sequences counts the sequences among the answers.
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
