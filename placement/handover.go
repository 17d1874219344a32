package placement

import (
	"context"
	"time"

	"github.com/cajun-go/cajun/metadata"
)

// drainTimeout is how long the handlers of a shard may go on before they are
// cancelled.
const drainTimeout = 5 * time.Second

// drain makes the host finish with a shard.
func (m *Manager) drain(sl *slot) {
	ctx, cancel := context.WithTimeout(m.ctx, drainTimeout)
	defer cancel()
	m.mu.Lock()
	sl.interrupt = cancel
	if !m.mayFinishLocked(sl) {
		cancel()
	}
	m.mu.Unlock()
	m.host.Drain(ctx, sl.shard, sl.epoch)
	m.mu.Lock()
	sl.interrupt, sl.drained = nil, true
	m.mu.Unlock()
}

// release lets go of a shard that nothing runs in: in favour of its target, or
// of anyone when there is none that could take it.
func (m *Manager) release(sl *slot, rec Record) {
	target := rec.Target
	if target == m.me {
		target = ""
	}
	m.change(sl, rec, rec.ReleasedTo(target))
}

// reopen calls a move off, as the target is gone or cannot take the shard.
func (m *Manager) reopen(sl *slot, rec Record) {
	var conds []metadata.Cond
	if _, known := m.view.Get(rec.Target); !known && rec.Target != m.me {
		conds = append(conds, metadata.Absent(m.space.Member(rec.Target)))
	}
	m.change(sl, rec, rec.Reopened(), conds...)
}

// change replaces a record that names this node, if it is unchanged and conds
// hold.
func (m *Manager) change(sl *slot, from, to Record, conds ...metadata.Cond) {
	key := m.space.Shard(sl.shard.Kind, sl.shard.Number)
	_, applied, err := m.write(sl.shard, append(conds, metadata.ModifiedAt(key, from.Modified)), to)
	if err != nil {
		m.failed(sl, "changing the record", err)
		return
	}
	if applied {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sl.stale = true
	if len(conds) > 0 {
		// Unless the record has changed, the target is alive, and it is the view
		// that is behind.
		sl.insist = from.Modified
	}
}
