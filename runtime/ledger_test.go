package cajun

import (
	"slices"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/cajun-go/cajun/guarantee"
)

// TestKeptCallsHoldUpNobody: calls that may be made again some day are excepted
// from the watermark, and take no room.
func TestKeptCallsHoldUpNobody(t *testing.T) {
	var l ledger
	to := actorID{"kind", "key"}
	sent := func(n int) (sequences []uint64) {
		for range n {
			sequences = append(sequences, l.book(to))
		}
		return sequences
	}
	dead := sent(guarantee.MaxOpen)
	for _, s := range dead {
		l.keep(to, s)
	}
	next := sent(guarantee.MaxOutstanding)
	if last := next[len(next)-1]; !l.hasRoom(to, last) {
		t.Error("the kept calls take the room of others")
	}
	if late := l.book(to); l.hasRoom(to, late) {
		t.Error("there is room for more than are remembered")
	}
	for _, s := range next[:10] {
		l.end(to, s)
	}
	if watermark, open := l.progress(to); watermark != next[10] || !slices.Equal(open, dead) {
		t.Errorf("the watermark is %d but for %v, want %d but for %v", watermark, open, next[10], dead)
	}
	l.enter(to, dead[3]) // sent again
	if watermark, open := l.progress(to); watermark != dead[3] || !slices.Equal(open, dead[:3]) {
		t.Errorf("the watermark is %d but for %v, want %d but for %v", watermark, open, dead[3], dead[:3])
	}
	for s := range l.last.Load() {
		l.end(to, s+1)
	}
	if len(l.open) > 0 {
		t.Errorf("the account is not closed: %v", l.open[to])
	}
}

// TestNoRoomPasses: a receiver without room says nothing of a message, also after
// an attempt whose answer was lost.
func TestNoRoomPasses(t *testing.T) {
	for outcome, want := range map[guarantee.Outcome]bool{
		guarantee.NotExecuted: true, guarantee.MaybeExecuted: true, guarantee.NotCommitted: false, guarantee.Answered: false,
	} {
		if got := transient(&failure{code: connect.CodeResourceExhausted, outcome: outcome}); got != want {
			t.Errorf("%v is transient: %t", outcome, got)
		}
	}
}
