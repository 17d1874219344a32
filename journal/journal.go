// Package journal is what one turn of an actor commits: its state, the reply
// of an EXACTLY_ONCE call and the memory of that call, and what the actor has to
// see to later (messages, timers, turns to bring to an end), in one atomic step
// of the state store.
//
// A Journal gathers the commits of many actors into few store transactions. An
// Actor is the durable part of one activation: it knows which calls were
// answered, writes the turns in order, and settles commits whose fate the
// store did not tell before anything is answered or repeated.
package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"crypto/rand"

	"github.com/cajun-go/cajun/state"
)

const (
	// writeTimeout bounds one store transaction; what it interrupts is settled.
	writeTimeout = 5 * time.Second
	// maxFlying is how many store transactions of one Journal may be on their
	// way at once. While they are, further commits gather for the next group.
	maxFlying = 4
)

// ErrClosed says that the journal was closed before the commit was written.
var ErrClosed = errors.New("journal: closed; nothing was written")

// Journal writes the commits of one node. Its methods are safe for concurrent
// use.
type Journal struct {
	store    state.Store
	sessions Sessions
	logger   *slog.Logger
	nonce    [8]byte
	serial   atomic.Uint64

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	queue  []*entry
	flying int
}

// Sessions tells which callers are gone for good, so that what is remembered
// for them can be forgotten. Its methods are called on the way of every commit
// and must not block.
type Sessions interface {
	// Generation changes whenever a session may have ended.
	Generation() uint64
	// Over reports whether a session has ended for good. It must say so only if
	// every later owner of any actor knows it, too, before that owner answers the
	// session's calls: a call that is repeated after it was forgotten would be
	// taken for a new one.
	Over(session string) bool
}

// entry is a commit that waits for its turn. done gets exactly one result.
type entry struct {
	commit state.Commit
	size   int
	rows   int
	done   chan error
}

// New returns a journal over store, which stays the caller's to close.
func New(store state.Store, sessions Sessions, logger *slog.Logger) *Journal {
	j := &Journal{store: store, sessions: sessions, logger: logger}
	rand.Read(j.nonce[:]) // never fails, see its documentation
	j.ctx, j.cancel = context.WithCancel(context.Background())
	return j
}

// Close ends what is on its way and waits for it. Commits that are cut off
// report that they may have been applied.
func (j *Journal) Close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.cancel()
	j.tasks.Wait()
}

// commitID returns an ID that no other attempt to write ever has.
func (j *Journal) commitID() []byte {
	return binary.BigEndian.AppendUint64(j.nonce[:len(j.nonce):len(j.nonce)], j.serial.Add(1))
}

// write hands c to the next group and waits for its result, which is that of
// state.Store.Commit for c alone.
func (j *Journal) write(c state.Commit) error {
	e := &entry{commit: c, size: c.Size(), rows: c.RowCount(), done: make(chan error, 1)}
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	j.queue = append(j.queue, e)
	if j.flying < maxFlying {
		j.flying++
		j.tasks.Go(j.drain)
	}
	j.mu.Unlock()
	return <-e.done
}

// drain writes groups until nothing is queued.
func (j *Journal) drain() {
	for {
		j.mu.Lock()
		group := j.take()
		if len(group) == 0 {
			j.flying--
			j.mu.Unlock()
			return
		}
		j.mu.Unlock()
		j.writeGroup(group)
	}
}

// take removes from the queue as much as one store transaction holds, and at
// least one commit if there is any. j.mu is held.
func (j *Journal) take() []*entry {
	limits := j.store.Limits()
	n, rows, bytes := 0, 0, 0
	for n < len(j.queue) && n < limits.Commits {
		e := j.queue[n]
		if n > 0 && (rows+e.rows > limits.Rows || bytes+e.size > limits.Bytes) {
			break
		}
		rows, bytes, n = rows+e.rows, bytes+e.size, n+1
	}
	if n == 0 {
		n = min(1, len(j.queue))
	}
	group := j.queue[:n:n]
	if j.queue = j.queue[n:]; len(j.queue) == 0 {
		j.queue = nil
	}
	return group
}

// writeGroup writes a group in one transaction. Commits that the store
// definitely refused are taken out, told so, and the others sent again.
func (j *Journal) writeGroup(group []*entry) {
	for len(group) > 0 {
		commits := make([]state.Commit, len(group))
		for i, e := range group {
			commits[i] = e.commit
		}
		ctx, cancel := context.WithTimeout(j.ctx, writeTimeout)
		err := j.store.Commit(ctx, commits)
		cancel()
		if err != nil && len(group) > 1 {
			// Neither error names the commit that it is about.
			if errors.Is(err, state.ErrTooLarge) || errors.Is(err, state.ErrInvalid) {
				j.writeGroup(group[:len(group)/2])
				group = group[len(group)/2:]
				continue
			}
			if kept, ok := removeRefused(group, err); ok {
				group = kept
				continue
			}
		}
		for _, e := range group {
			e.done <- err
		}
		return
	}
}

// removeRefused tells the commits that err refuses and returns the others. It
// reports false when err is no refusal of a commit in the group.
func removeRefused(group []*entry, err error) (kept []*entry, ok bool) {
	refused := func(state.Commit) bool { return false }
	if fenced := new(state.FencedError); errors.As(err, &fenced) {
		refused = func(c state.Commit) bool { return c.Actor.Shard == fenced.Shard && c.Fence != fenced.Current }
	} else if conflict := new(state.ConflictError); errors.As(err, &conflict) {
		refused = func(c state.Commit) bool { return c.Actor == conflict.Actor }
	}
	for _, e := range group {
		if refused(e.commit) {
			e.done <- err
		} else {
			kept = append(kept, e)
		}
	}
	return kept, len(kept) < len(group)
}
