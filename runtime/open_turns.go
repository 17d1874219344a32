package cajun

import (
	"slices"
	"sync"

	"github.com/cajun-go/cajun/guarantee"
)

// openTurns are the turns of one shard's actors that have called others and are
// not at their end: whatever they call, they call under their own number, so an
// actor may forget what it has answered to a turn once that is none of these.
type openTurns struct {
	ledger *ledger
	mu     sync.Mutex
	// numbers ascend.
	numbers []uint64
}

// begin numbers a turn.
func (t *openTurns) begin() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	sequence := t.ledger.next()
	t.numbers = append(t.numbers, sequence)
	return sequence
}

// goOn takes over a turn that has its number already.
func (t *openTurns) goOn(sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, found := slices.BinarySearch(t.numbers, sequence); !found {
		t.numbers = slices.Insert(t.numbers, i, sequence)
	}
}

// end is the end of a turn.
func (t *openTurns) end(sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, found := slices.BinarySearch(t.numbers, sequence); found {
		t.numbers = slices.Delete(t.numbers, i, i+1)
	}
}

// progress tells below which number all turns are at their end, and the numbers
// of those below it that are not. Turns that take long are excepted in this way
// for as long as they are few: what others call must not be remembered for all
// that time.
func (t *openTurns) progress() (watermark uint64, open []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.numbers) > guarantee.MaxOpen {
		return t.numbers[guarantee.MaxOpen], slices.Clone(t.numbers[:guarantee.MaxOpen])
	}
	return t.ledger.last.Load() + 1, slices.Clone(t.numbers)
}
