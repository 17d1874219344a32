package placement

import (
	"slices"
	"time"

	"github.com/cajun-go/cajun/state"
)

// turnTime is how long each node waits for the one before it to claim an
// orphan.
const turnTime = 500 * time.Millisecond

// live reports whether a session is a member, as far as this node knows.
func (m *Manager) live(session string) bool {
	if session == m.me {
		return true // the store says otherwise before the view does
	}
	_, ok := m.view.Get(session)
	return ok
}

// orphaned reports whether anyone may claim a shard that has this record.
func (m *Manager) orphaned(rec Record) bool {
	if rec.Phase == Released {
		return !m.live(rec.Target) // no target is alive nowhere
	}
	return !m.live(rec.Owner)
}

// targetGone reports whether the target of a record will not take the shard.
func (m *Manager) targetGone(sl *slot, rec Record) bool {
	if rec.Target == m.me {
		return rec.Owner == m.me
	}
	target, known := m.view.Get(rec.Target)
	if !known {
		return sl.insist != rec.Modified
	}
	return !target.Hosts(sl.shard.Kind)
}

// othersHost reports whether another member takes shards of a kind.
func (m *Manager) othersHost(kind string) bool {
	return slices.ContainsFunc(Candidates(kind, m.view.Live()), func(c Candidate) bool {
		return c.Session != m.me && !c.Draining
	})
}

// plan is what Plan said for a kind when the members were of this generation.
type plan struct {
	generation uint64
	candidates []Candidate
	wanted     []string
}

// planned returns the plan for a kind and the present members. It is made once
// per generation of members, as that is when orphans appear, and so that very
// many first uses at once end up balanced, whatever is known of the earlier ones.
func (m *Manager) planned(kind string) plan {
	snap := m.view.Snapshot()
	m.mu.Lock()
	p, ok := m.plans[kind]
	m.mu.Unlock()
	if ok && p.generation == snap.Generation() {
		return p
	}
	records := m.table.Records(kind)
	owners := make([]string, len(records))
	for n, rec := range records {
		if rec.Epoch != 0 {
			if owners[n] = rec.Holder(m.live); owners[n] == "" {
				owners[n] = Orphan
			}
		}
	}
	p = plan{generation: snap.Generation(), candidates: Candidates(kind, snap.Live())}
	p.wanted = Plan(kind, owners, p.candidates)
	m.mu.Lock()
	m.plans[kind] = p
	m.mu.Unlock()
	return p
}

// Preferred returns the session that should claim a shard that nobody holds,
// and false when no live member takes shards of the kind. Nodes agree on it
// mostly; where they do not, the records decide.
func (m *Manager) Preferred(kind string, shard uint32) (session string, ok bool) {
	turns := m.Turns(kind, shard)
	if len(turns) == 0 {
		return "", false
	}
	return turns[0], true
}

// Turns returns the sessions that may claim a shard that nobody holds, in the
// order in which they should: Preferred first, then those to ask when it cannot
// be reached. It is empty when no live member takes shards of the kind.
func (m *Manager) Turns(kind string, shard uint32) []string {
	rec, found := m.table.Lookup(kind, shard)
	p := m.planned(kind)
	turns := Order(kind, shard, p.candidates)
	if len(turns) < 2 {
		return turns
	}
	first := ""
	if int(shard) < len(p.wanted) {
		first = p.wanted[shard]
	}
	if found && rec.Holder(m.live) != "" {
		first = rec.Holder(m.live)
	}
	if i := slices.Index(turns, first); i > 0 {
		copy(turns[1:], turns[:i])
		turns[0] = first
	}
	if found && rec.Phase == Released && rec.Target == "" {
		// Who let go could not serve it.
		if i := slices.Index(turns, rec.Owner); i >= 0 {
			turns = append(slices.Delete(turns, i, i+1), rec.Owner)
		}
	}
	return turns
}

// turns is the queue of orphans that this node will claim when its turn comes.
// It belongs to one goroutine.
type turns struct {
	m       *Manager
	orphans map[state.Shard]turn
	timer   *time.Timer
}

// turn is when this node may claim an orphan.
type turn struct {
	modified   int64  // of the record
	generation uint64 // of the members
	at         time.Time
}

func newTurns(m *Manager) *turns {
	t := &turns{m: m, orphans: make(map[state.Shard]turn), timer: time.NewTimer(time.Hour)}
	t.timer.Stop()
	return t
}

func (t *turns) stop() { t.timer.Stop() }

// due fires when the next turn comes.
func (t *turns) due() <-chan time.Time { return t.timer.C }

// survey looks for orphans among the shards of the hosted kinds, and claims
// those whose turn it is.
func (t *turns) survey() {
	now := time.Now()
	generation := t.m.view.Generation()
	current := make(map[state.Shard]turn)
	next := time.Duration(-1)
	for kind := range t.m.kinds {
		for n, rec := range t.m.table.Records(kind) {
			if rec.Epoch == 0 || !t.m.orphaned(rec) {
				continue
			}
			s := state.Shard{Kind: kind, Number: uint32(n)}
			orphan, known := t.orphans[s]
			if !known || orphan.modified != rec.Modified || orphan.generation != generation {
				order := t.m.Turns(kind, s.Number)
				rank := slices.Index(order, t.m.me)
				if rank < 0 {
					continue // this node takes none
				}
				orphan = turn{rec.Modified, generation, now.Add(time.Duration(rank) * turnTime)}
			}
			if !orphan.at.After(now) {
				t.m.want(s)
				// Should it still be an orphan then, try again.
				orphan.at = now.Add(2 * turnTime)
			}
			current[s] = orphan
			if wait := orphan.at.Sub(now); next < 0 || wait < next {
				next = wait
			}
		}
	}
	t.orphans = current
	t.timer.Stop()
	if next >= 0 {
		t.timer.Reset(next)
	}
}

// want claims a shard that nobody waits for.
func (m *Manager) want(s state.Shard) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended != nil {
		return
	}
	sl := m.slotLocked(s)
	sl.asked = true
	m.pokeLocked(sl)
}
