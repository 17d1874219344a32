package placement

import (
	"context"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/cajun-go/cajun/state"
)

// slot is what a manager does about one shard. It exists while the shard is
// served, wanted or worked on, and at most one goroutine works on it.
type slot struct {
	shard state.Shard
	busy  bool
	// epoch is what the host was told to serve, 0 when nothing. drained says
	// that Drain has returned since.
	epoch   uint64
	drained bool
	// fenced says that the state store knows a newer owner than epoch.
	fenced bool
	// asked says that somebody wants the shard to be claimed, and waiters want
	// to know what came of it.
	asked   bool
	waiters []chan claimed
	// stale says that the table may be older than a write of this slot.
	stale bool
	// floor is the epoch of a fence that refused an earlier seal.
	floor uint64
	// insist is the revision of a record whose target is alive, although the
	// view does not show it.
	insist int64
	// interrupt ends a Drain that is under way, and kick ends a pause.
	interrupt context.CancelFunc
	kick      chan struct{}
	pauses    *backoff.ExponentialBackOff
}

// claimed answers a Claim.
type claimed struct {
	record Record
	err    error
}

// step is the next thing to do about a shard.
type step uint8

const (
	stepRest step = iota
	stepDrop
	stepRefresh
	stepDrain   // ask the host to finish
	stepRelease // write that the shard is let go
	stepReopen  // write that a move is called off
	stepClaim
	stepWait // until the session may act again
)

// slotLocked returns the slot of a shard, made when there is none.
func (m *Manager) slotLocked(s state.Shard) *slot {
	sl := m.slots[s]
	if sl == nil {
		sl = &slot{shard: s, kick: make(chan struct{}, 1)}
		m.slots[s] = sl
	}
	return sl
}

func (m *Manager) pokeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, sl := range m.slots {
		m.kickLocked(sl)
	}
	m.signalIdleLocked()
}

// pokeLocked makes sure that somebody looks at a slot.
func (m *Manager) pokeLocked(sl *slot) {
	if !sl.busy {
		if next, _, _ := m.nextLocked(sl); next == stepRest {
			m.restLocked(sl)
			return
		}
		sl.busy = true
		m.work.Go(func() { m.run(sl) })
		return
	}
	if sl.interrupt != nil && !m.mayFinishLocked(sl) {
		sl.interrupt()
	}
}

// kickLocked is pokeLocked after something has changed that ends a pause.
func (m *Manager) kickLocked(sl *slot) {
	m.pokeLocked(sl)
	select {
	case sl.kick <- struct{}{}:
	default:
	}
}

// mayFinishLocked reports whether a host that drains should go on with it.
func (m *Manager) mayFinishLocked(sl *slot) bool {
	rec, _ := m.table.Lookup(sl.shard.Kind, sl.shard.Number)
	return m.ended == nil && !sl.fenced && rec.Owner == m.me && rec.Epoch == sl.epoch
}

// restLocked answers the waiters of a slot that has nothing to do, and forgets
// the slot when it is of no use.
func (m *Manager) restLocked(sl *slot) {
	rec, _ := m.table.Lookup(sl.shard.Kind, sl.shard.Number)
	m.answerLocked(sl, rec, m.unableLocked(sl.shard.Kind, rec))
	if sl.epoch == 0 {
		delete(m.slots, sl.shard)
	}
}

// unableLocked says why this node does not serve or claim a shard that has this
// record and that it should not claim, if that is its own fault.
func (m *Manager) unableLocked(kind string, rec Record) error {
	switch err := m.session.Check(); {
	case m.ended != nil:
		return m.ended
	case err != nil:
		return err
	case rec.Epoch != 0 && !m.orphaned(rec):
		return nil // somebody else has it, or this node
	}
	return m.refusalLocked(kind)
}

// refusalLocked says why this node takes no shard of a kind.
func (m *Manager) refusalLocked(kind string) error {
	self, known := m.view.Get(m.me)
	switch _, hosted := m.kinds[kind]; {
	case !hosted:
		return ErrNotHosted
	case m.draining || known && self.Draining:
		return ErrDraining
	}
	return nil
}

// answerLocked answers everybody who waits for a claim.
func (m *Manager) answerLocked(sl *slot, rec Record, err error) {
	for _, w := range sl.waiters {
		w <- claimed{rec, err}
	}
	sl.waiters, sl.asked = nil, false
}

// forget takes back the question of a caller that no longer waits.
func (m *Manager) forget(s state.Shard, answer chan claimed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sl := m.slots[s]; sl != nil {
		sl.waiters = slices.DeleteFunc(sl.waiters, func(w chan claimed) bool { return w == answer })
	}
}

// run works on a slot until there is nothing left to do.
func (m *Manager) run(sl *slot) {
	for {
		m.mu.Lock()
		next, rec, found := m.nextLocked(sl)
		if next == stepRest {
			sl.busy = false
			m.restLocked(sl)
			if m.draining {
				m.signalIdleLocked()
			}
			m.mu.Unlock()
			return
		}
		switch next {
		case stepDrain, stepRelease, stepReopen:
			if found {
				m.answerLocked(sl, rec, nil) // a caller need not wait for a move to end
			}
		case stepWait:
			m.answerLocked(sl, rec, m.unableLocked(sl.shard.Kind, rec))
		}
		m.mu.Unlock()
		m.perform(sl, next, rec, found)
	}
}

func (m *Manager) perform(sl *slot, next step, rec Record, found bool) {
	switch next {
	case stepDrop:
		m.drop(sl)
	case stepRefresh:
		if _, _, err := m.refresh(sl.shard); err != nil {
			m.failed(sl, "reading the record", err)
			return
		}
		m.mu.Lock()
		sl.stale = false
		m.mu.Unlock()
	case stepDrain:
		m.drain(sl)
	case stepRelease:
		m.release(sl, rec)
	case stepReopen:
		m.reopen(sl, rec)
	case stepClaim:
		m.claim(sl, rec, found)
	case stepWait:
		m.pause(sl)
	}
}

// nextLocked decides what to do about a shard. All that it knows is the slot,
// the record and who is alive; after each step it decides anew.
func (m *Manager) nextLocked(sl *slot) (next step, rec Record, found bool) {
	rec, found = m.table.Lookup(sl.shard.Kind, sl.shard.Number)
	switch {
	case sl.epoch != 0 && (m.ended != nil || sl.fenced):
		next = stepDrop
	case m.ended != nil:
		next = stepRest
	case sl.stale:
		next = stepRefresh
	case sl.epoch != 0:
		next = m.nextOfServedLocked(sl, rec)
	default:
		next = m.nextOfOtherLocked(sl, rec, found)
	}
	return next, rec, found
}

// nextOfServedLocked decides about a shard that the host serves or has drained.
func (m *Manager) nextOfServedLocked(sl *slot, rec Record) step {
	letGo := rec.Phase == Draining
	switch {
	case rec.Owner != m.me || rec.Epoch != sl.epoch || rec.Phase == Released:
		return stepDrop
	case rec.Phase == Draining && m.targetGone(sl, rec):
		return stepReopen
	case rec.Phase == Open:
		letGo = m.draining && !m.othersHost(sl.shard.Kind)
	}
	switch {
	case letGo && sl.drained:
		return stepRelease
	case letGo:
		return stepDrain
	case sl.drained:
		// The move was called off. What the drain may have left behind still has a
		// valid fence: only the next epoch keeps its commits out.
		return stepDrop
	}
	return stepRest
}

// nextOfOtherLocked decides about a shard that the host does not serve.
func (m *Manager) nextOfOtherLocked(sl *slot, rec Record, found bool) step {
	refused := m.refusalLocked(sl.shard.Kind) != nil
	mine := found && rec.Owner == m.me && rec.Phase != Released
	toMe := found && rec.Target == m.me && (rec.Phase == Released || m.orphaned(rec))
	switch {
	case mine && (refused || rec.Phase == Draining && !m.targetGone(sl, rec)):
		return stepRelease
	case toMe && refused && rec.Phase == Released:
		return stepRelease
	case refused:
		return stepRest
	case mine || toMe:
		if m.session.Check() != nil {
			return stepWait
		}
		return stepClaim
	case sl.asked && (!found || m.orphaned(rec)) && m.session.Check() == nil:
		return stepClaim
	}
	return stepRest
}

// failed notes that a store did not answer as it should: the slot pauses, and
// looks at the record itself before it does anything else.
func (m *Manager) failed(sl *slot, what string, err error) {
	if m.ctx.Err() == nil {
		m.log.Warn("a store failed; trying again", "while", what, "shard", sl.shard.String(), "error", err)
	}
	m.mu.Lock()
	sl.stale = true
	m.mu.Unlock()
	m.pause(sl)
}

// pause waits a while, longer each time until something succeeds. It ends when
// the record or the members change, or the manager ends.
func (m *Manager) pause(sl *slot) {
	if sl.pauses == nil {
		sl.pauses = &backoff.ExponentialBackOff{
			InitialInterval:     50 * time.Millisecond,
			RandomizationFactor: 0.5,
			Multiplier:          2,
			MaxInterval:         2 * time.Second,
		}
		sl.pauses.Reset()
	}
	timer := time.NewTimer(sl.pauses.NextBackOff())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-sl.kick:
	case <-m.ctx.Done():
	}
}
