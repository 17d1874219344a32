package cajun

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cajun-go/cajun/guarantee"
)

// ledger numbers the calls of one caller and knows which EXACTLY_ONCE calls are
// outstanding at which actor. The caller is the node's session, or a shard for
// what its actors send. What it holds is bounded by the calls that are being
// made and the messages that are stored at the moment.
type ledger struct {
	last atomic.Uint64
	mu   sync.Mutex
	open map[actorID]*account
}

// actorID names an actor across the cluster.
type actorID struct{ identity, key string }

// account is the calls to one actor from the lowest outstanding one upwards,
// settled ones in between included.
type account struct {
	calls []numbered
	// room is closed when calls may begin that found no room.
	room chan struct{}
}

type numbered struct {
	sequence uint64
	settled  bool
	// kept says that nobody makes the call any more, and that somebody may again:
	// it is a dead letter. It holds up no others.
	kept bool
}

// next numbers a call that needs no account.
func (l *ledger) next() uint64 { return l.last.Add(1) }

// account returns the account of an actor, made if need be. l.mu is held.
func (l *ledger) account(to actorID) *account {
	a, ok := l.open[to]
	if !ok {
		if l.open == nil {
			l.open = make(map[actorID]*account)
		}
		a = &account{}
		l.open[to] = a
	}
	return a
}

// begin numbers an EXACTLY_ONCE call. It waits while the actor has
// guarantee.MaxOutstanding calls of this caller open.
func (l *ledger) begin(ctx context.Context, to actorID) (uint64, error) {
	for {
		l.mu.Lock()
		a := l.account(to)
		if len(a.calls) < guarantee.MaxOutstanding {
			// Under the lock, so that the numbers of one actor ascend.
			sequence := l.last.Add(1)
			a.calls = append(a.calls, numbered{sequence: sequence})
			l.mu.Unlock()
			return sequence, nil
		}
		if err := l.wait(ctx, a); err != nil {
			return 0, err
		}
	}
}

// wait waits until calls of an account may begin that found no room. It takes
// over l.mu and releases it.
func (l *ledger) wait(ctx context.Context, a *account) error {
	if a.room == nil {
		a.room = make(chan struct{})
	}
	room := a.room
	l.mu.Unlock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return causeOf(ctx)
	}
}

// book numbers a message that is stored first and sent later.
func (l *ledger) book(to actorID) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	sequence := l.last.Add(1)
	a := l.account(to)
	a.calls = append(a.calls, numbered{sequence: sequence})
	return sequence
}

// enter makes a call outstanding that has a number already, unless it is.
func (l *ledger) enter(to actorID, sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(to)
	a.put(numbered{sequence: sequence})
}

// keep makes a call one that may be made again some day.
func (l *ledger) keep(to actorID, sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(to)
	a.put(numbered{sequence: sequence, kept: true})
	l.trim(to, a)
}

func (a *account) put(n numbered) {
	i, found := a.find(n.sequence)
	if !found {
		a.calls = slices.Insert(a.calls, i, n)
		return
	}
	a.calls[i] = n
}

// hasRoom reports whether a call is among the first guarantee.MaxOutstanding of
// the actor, so that the actor has room to remember its answer.
func (l *ledger) hasRoom(to actorID, sequence uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := 0
	for _, n := range l.account(to).calls {
		if n.sequence >= sequence || before == guarantee.MaxOutstanding {
			break
		}
		if !n.kept {
			before++
		}
	}
	return before < guarantee.MaxOutstanding
}

// progress returns the lowest sequence that is outstanding at the actor, or 0
// when none is, and those below it that are kept.
func (l *ledger) progress(to actorID) (watermark uint64, open []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.open[to]
	if !ok {
		return 0, nil
	}
	for _, n := range a.calls {
		if !n.kept || len(open) == guarantee.MaxOpen {
			return n.sequence, open
		}
		open = append(open, n.sequence)
	}
	return 0, nil
}

// end settles a call: its answer has arrived, or its caller has given it up.
func (l *ledger) end(to actorID, sequence uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.open[to]; ok {
		if i, found := a.find(sequence); found {
			a.calls[i] = numbered{sequence: sequence, settled: true}
		}
		l.trim(to, a)
	}
}

// trim takes settled calls away that the watermark passes. l.mu is held.
func (l *ledger) trim(to actorID, a *account) {
	before := len(a.calls)
	passed := true
	a.calls = slices.DeleteFunc(a.calls, func(n numbered) bool {
		passed = passed && (n.settled || n.kept)
		return passed && n.settled
	})
	if len(a.calls) < before && a.room != nil {
		close(a.room)
		a.room = nil
	}
	if len(a.calls) == 0 && a.room == nil {
		delete(l.open, to)
	}
}

func (a *account) find(sequence uint64) (int, bool) {
	return slices.BinarySearchFunc(a.calls, sequence, func(n numbered, s uint64) int { return cmp.Compare(n.sequence, s) })
}
