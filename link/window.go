package link

import "math"

const (
	windowWords = 64 // in words of 64 IDs; a power of two
	allSeen     = math.MaxUint64
)

// Window is the receiver's memory of the frame IDs of one sender: it tells
// frames that arrive for the first time from those that arrive again. It
// remembers at least the 4,032 IDs below the highest one that it has seen and
// takes older ones for repeats. While IDs arrive without gaps it takes 8
// bytes, and 512 at most. The zero Window is ready for use; it is not safe for
// concurrent use.
type Window struct {
	// low counts words of 64 IDs: words below it are settled, that is, all
	// their IDs were admitted or are refused from now on.
	low uint64
	// words is a ring of bitmaps, a power of two long, for the words from low.
	words []uint64
}

// Admit returns true exactly once per id, and false for an id that is 0, was
// admitted before, or is too far below the highest one.
func (w *Window) Admit(id uint64) bool {
	word, bit := id/64, uint64(1)<<(id%64)
	if id == 0 || word < w.low {
		return false
	}
	w.reach(word)
	slot := &w.words[word%uint64(len(w.words))]
	if *slot&bit != 0 {
		return false
	}
	*slot |= bit
	for {
		lowest := &w.words[w.low%uint64(len(w.words))]
		if *lowest != allSeen {
			return true
		}
		*lowest = 0
		w.low++
	}
}

// reach makes word one of the remembered words.
func (w *Window) reach(word uint64) {
	if w.words == nil {
		w.words = []uint64{1} // ID 0 is settled, so that the first word can fill
	}
	if word-w.low >= windowWords {
		w.slide(word - windowWords + 1)
	}
	size := uint64(len(w.words))
	for size <= word-w.low {
		size *= 2
	}
	if size == uint64(len(w.words)) {
		return
	}
	grown := make([]uint64, size)
	for i := range uint64(len(w.words)) {
		grown[(w.low+i)%size] = w.words[(w.low+i)%uint64(len(w.words))]
	}
	w.words = grown
}

// slide forgets all words below low.
func (w *Window) slide(low uint64) {
	for i := range min(low-w.low, uint64(len(w.words))) {
		w.words[(w.low+i)%uint64(len(w.words))] = 0
	}
	w.low = low
}
