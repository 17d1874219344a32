package placement

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/state"
)

// sealTimeout is how long a claimed shard may wait for its fence before it is
// released to anyone.
const sealTimeout = 5 * time.Second

// claimConditions returns what must hold when the session me, with the condition
// that it is a member, takes a shard that has this record. The record is
// unchanged; and, unless it names me or the shard was released to me or to
// anyone, who has the right to the shard is no member any more.
func claimConditions(space metadata.Space, s state.Shard, me string, present metadata.Cond, rec Record, found bool) []metadata.Cond {
	key := space.Shard(s.Kind, s.Number)
	if !found {
		return []metadata.Cond{present, metadata.Absent(key)}
	}
	conds := []metadata.Cond{present, metadata.ModifiedAt(key, rec.Modified)}
	holder := rec.Owner
	if rec.Phase == Released {
		holder = rec.Target
	}
	if holder != me && holder != "" {
		conds = append(conds, metadata.Absent(space.Member(holder)))
	}
	return conds
}

// claim writes this node into the record, seals the shard and serves it.
func (m *Manager) claim(sl *slot, rec Record, found bool) {
	conds := claimConditions(m.space, sl.shard, m.me, m.session.Present(), rec, found)
	mine, applied, err := m.write(sl.shard, conds, rec.Claimed(m.me, sl.floor))
	switch {
	case err != nil:
		// It may have been applied: then the record names this node, which does
		// not serve it, and so claims it again.
		m.failed(sl, "claiming", err)
		return
	case !applied:
		m.outrun(sl, rec, found)
		return
	}
	err = m.sealInTime(sl.shard, mine.Epoch)
	var fenced *state.FencedError
	switch {
	case m.ctx.Err() != nil:
	case err == nil:
		m.log.Debug("shard claimed", "shard", sl.shard.String(), "epoch", mine.Epoch)
		m.serve(sl, mine.Epoch)
	case errors.As(err, &fenced):
		// The records are older than the fences: they come from a backup. Or
		// somebody else has taken the shard meanwhile; then the next claim fails.
		m.log.Warn("a fence is above the claim; claiming above it",
			"shard", sl.shard.String(), "epoch", mine.Epoch, "fence", fenced.Current.Epoch)
		sl.floor = max(fenced.Current.Epoch, mine.Epoch)
	default:
		m.giveBack(sl, mine, err)
	}
}

// outrun finds out why a claim's conditions did not hold.
func (m *Manager) outrun(sl *slot, rec Record, found bool) {
	now, exists, err := m.refresh(sl.shard)
	if err != nil {
		m.failed(sl, "reading the record", err)
		return
	}
	if exists && now.Modified != rec.Modified {
		return // somebody was faster
	}
	// The record is as it was: its holder, or this node itself, is not what the
	// view says. Send the callers to the holder and wait for the view. (Or the
	// record was deleted, which no node does: wait for the table to see it.)
	m.mu.Lock()
	m.answerLocked(sl, now, m.session.Check())
	m.mu.Unlock()
	m.pause(sl)
}

// sealInTime raises the fence, repeatedly, until it is raised or refused or
// sealTimeout has passed.
func (m *Manager) sealInTime(s state.Shard, epoch uint64) error {
	ctx, cancel := context.WithTimeout(m.ctx, sealTimeout)
	defer cancel()
	pause := 50 * time.Millisecond
	for {
		err := m.seal(ctx, s, epoch)
		var fenced *state.FencedError
		if err == nil || errors.As(err, &fenced) || errors.Is(err, state.ErrClosed) {
			return err
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		case <-ctx.Done():
			return err
		}
	}
}

// giveBack releases a shard that could not be sealed to anyone.
func (m *Manager) giveBack(sl *slot, mine Record, cause error) {
	m.log.Error("the state store does not seal a shard; others may try", "shard", sl.shard.String(), "epoch", mine.Epoch, "error", cause)
	key := m.space.Shard(sl.shard.Kind, sl.shard.Number)
	released, applied, err := m.write(sl.shard, []metadata.Cond{metadata.ModifiedAt(key, mine.Modified)}, mine.ReleasedTo(""))
	if !applied {
		released = mine
	}
	m.mu.Lock()
	m.answerLocked(sl, released, fmt.Errorf("%w: shard %s: %w", ErrUnsealed, sl.shard, cause))
	m.mu.Unlock()
	if err != nil {
		m.failed(sl, "releasing", err)
	} else if !applied {
		m.markStale(sl)
	}
}

func (m *Manager) markStale(sl *slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sl.stale = true
}

// serve hands a sealed shard to the host.
func (m *Manager) serve(sl *slot, epoch uint64) {
	m.mu.Lock()
	sl.epoch, sl.drained, sl.floor, sl.pauses = epoch, false, 0, nil
	m.mu.Unlock()
	m.host.Serve(sl.shard, epoch)
}

// drop takes a shard away from the host.
func (m *Manager) drop(sl *slot) {
	m.host.Drop(sl.shard, sl.epoch)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log.Debug("shard dropped", "shard", sl.shard.String(), "epoch", sl.epoch)
	// What the fence refused may still be in the record: look there.
	sl.stale = sl.stale || sl.fenced
	sl.epoch, sl.drained, sl.fenced = 0, false, false
}
