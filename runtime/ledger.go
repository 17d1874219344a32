package cajun

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/cajun-go/cajun/guarantee"
)

// ledger numbers the calls of one session and knows which EXACTLY_ONCE calls
// are outstanding at which actor. What it holds is bounded by the calls that
// are being made at the moment.
type ledger struct {
	last atomic.Uint64
	mu   sync.Mutex
	open map[actorID]*account
}

// actorID names an actor across the cluster.
type actorID struct{ identity, key string }

// account is the calls of this session to one actor from the lowest
// outstanding one upwards, settled ones in between included.
type account struct {
	calls []numbered
	// room is closed when a call may begin that found none.
	room chan struct{}
}

type numbered struct {
	sequence uint64
	settled  bool
}

// next numbers a call that needs no account.
func (l *ledger) next() uint64 { return l.last.Add(1) }

// begin numbers an EXACTLY_ONCE call. It waits while the actor has
// guarantee.MaxOutstanding calls of this session open.
func (l *ledger) begin(ctx context.Context, to actorID) (uint64, error) {
	for {
		l.mu.Lock()
		a, ok := l.open[to]
		if !ok {
			if l.open == nil {
				l.open = make(map[actorID]*account)
			}
			a = &account{}
			l.open[to] = a
		}
		if len(a.calls) < guarantee.MaxOutstanding {
			// Under the lock, so that the numbers of one actor ascend.
			sequence := l.last.Add(1)
			a.calls = append(a.calls, numbered{sequence: sequence})
			l.mu.Unlock()
			return sequence, nil
		}
		if a.room == nil {
			a.room = make(chan struct{})
		}
		room := a.room
		l.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return 0, causeOf(ctx)
		}
	}
}

// watermark returns the lowest sequence that is outstanding at the actor.
func (l *ledger) watermark(to actorID) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.open[to]; ok && len(a.calls) > 0 {
		return a.calls[0].sequence
	}
	return 0
}

// end settles a call: its answer has arrived, or its caller has given it up.
func (l *ledger) end(to actorID, sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.open[to]
	if !ok {
		return
	}
	for i := range a.calls {
		if a.calls[i].sequence == sequence {
			a.calls[i].settled = true
			break
		}
	}
	before := len(a.calls)
	for len(a.calls) > 0 && a.calls[0].settled {
		a.calls = a.calls[1:]
	}
	if len(a.calls) < before && a.room != nil {
		close(a.room)
		a.room = nil
	}
	if len(a.calls) == 0 {
		delete(l.open, to)
	}
}
