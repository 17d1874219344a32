package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cajun-go/cajun/member"
	"github.com/cajun-go/cajun/metadata"
	"github.com/cajun-go/cajun/placement"
)

const (
	// settle is how long changes are gathered before the shards are planned
	// anew: several nodes often join or drain together.
	settle = 30 * time.Millisecond
	// inMotion is how many shards may be on their way at a time. Callers of a
	// moving shard wait for it, so they should not all wait at once.
	inMotion = 240
	// batchSize is how many moves go into one transaction: each brings a
	// condition on its record and at most one on its target, and all share one
	// on the election, of the metadata.MaxTxn that there are.
	batchSize = 50
	// planAgain is when the shards are planned again after a failure.
	planAgain = 500 * time.Millisecond
)

// keepBalance moves shards to where they belong, whenever members or records
// have changed, until ctx ends. It keeps no memory of its moves: a new leader
// reads from the records what is under way.
func (l *Leader) keepBalance(ctx context.Context, r role) {
	b := &balancer{l: l, term: r.term}
	for {
		members, records := l.view.Changed(), l.table.Changed()
		var again <-chan time.Time
		if err := b.round(ctx); err != nil && ctx.Err() == nil {
			again = time.After(planAgain)
			if !errors.Is(err, errBehind) {
				l.log.Warn("could not move shards; trying again", "error", err)
			}
		}
		select {
		case <-members:
		case <-records:
		case <-again:
		case <-ctx.Done():
			return
		}
		if !wait(ctx, settle) {
			return
		}
	}
}

// errBehind says that the table does not show the latest moves yet. Mostly its
// next change brings it up to date, unless this node's own claims have made that
// change no news.
var errBehind = errors.New("leader: the table is behind")

// balancer is the leader's planning in one term.
type balancer struct {
	l    *Leader
	term int64
	// written is the revision of the latest move. On a table older than that,
	// the plan would count shards that are on their way as still to be moved.
	written int64
}

// move is the wish to hand one shard over.
type move struct {
	kind   string
	shard  uint32
	from   placement.Record
	target member.Member
}

// round starts the moves that are due and that there is room for.
func (b *balancer) round(ctx context.Context) error {
	if b.l.table.Revision() < b.written {
		return errBehind
	}
	members := b.l.view.Snapshot()
	var urgent, other []move // off draining nodes first
	room := inMotion
	for _, kind := range b.l.table.Kinds() {
		due, moving := dueMoves(kind.Identity, b.l.table.Records(kind.Identity), members)
		room -= moving
		for _, mv := range due {
			if owner, _ := members.Get(mv.from.Owner); owner.Draining {
				urgent = append(urgent, mv)
			} else {
				other = append(other, mv)
			}
		}
	}
	due := append(urgent, other...)
	due = due[:max(0, min(room, len(due)))]
	for len(due) > 0 {
		n := min(batchSize, len(due))
		if err := b.start(ctx, due[:n]); err != nil {
			return err
		}
		due = due[n:]
	}
	return nil
}

// dueMoves returns the moves that a kind needs, and how many are under way.
//
// Only an open shard of a live owner is moved. Shards of the dead are claimed by
// the living without being told, and those on their way arrive or come back by
// themselves.
func dueMoves(kind string, records []placement.Record, members *member.Snapshot) (due []move, moving int) {
	live := func(session string) bool { _, ok := members.Get(session); return ok }
	owners := make([]string, len(records))
	for n, rec := range records {
		if rec.Epoch == 0 {
			continue
		}
		if owners[n] = rec.Holder(live); owners[n] == "" {
			owners[n] = placement.Orphan
		} else if rec.Phase != placement.Open {
			moving++
		}
	}
	wanted := placement.Plan(kind, owners, placement.Candidates(kind, members.Live()))
	for n, rec := range records {
		if rec.Epoch == 0 || rec.Phase != placement.Open || !live(rec.Owner) || wanted[n] == rec.Owner {
			continue
		}
		// Nobody is wanted when only draining members host the kind: the drain
		// of the owner itself sees to that.
		if target, ok := members.Get(wanted[n]); ok {
			due = append(due, move{kind, uint32(n), rec, target})
		}
	}
	return due, moving
}

// start asks owners to hand shards over, as one transaction. When its
// conditions do not all hold, it is halved, until what cannot be moved as
// planned stands alone; the change that was in the way leads to a new plan.
func (b *balancer) start(ctx context.Context, moves []move) error {
	if err := b.l.session.Check(); err != nil {
		return err
	}
	txn, err := b.txn(moves)
	if err != nil {
		return err
	}
	commitCtx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	res, err := b.l.store.Commit(commitCtx, txn)
	if err != nil {
		return fmt.Errorf("leader: moving %d shards: %w", len(moves), err)
	}
	if res.Applied {
		b.written = max(b.written, res.Revision)
		b.l.log.Debug("shards asked to move", "shards", len(moves), "revision", res.Revision)
		return nil
	}
	if len(moves) == 1 {
		b.l.log.Debug("a shard did not move: its record, its target or the leader has changed",
			"kind", moves[0].kind, "shard", moves[0].shard)
		return nil
	}
	if err := b.start(ctx, moves[:len(moves)/2]); err != nil {
		return err
	}
	return b.start(ctx, moves[len(moves)/2:])
}

// txn is the transaction of a group of moves: it applies in this term only, to
// unchanged records, and in favour of living targets.
func (b *balancer) txn(moves []move) (metadata.Txn, error) {
	txn := metadata.Txn{If: []metadata.Cond{b.l.guard(b.term)}}
	targets := make(map[string]bool)
	for _, mv := range moves {
		key := b.l.space.Shard(mv.kind, mv.shard)
		value, err := mv.from.Moving(mv.target.Session).Encode()
		if err != nil {
			return metadata.Txn{}, err
		}
		txn.If = append(txn.If, metadata.ModifiedAt(key, mv.from.Modified))
		txn.Then = append(txn.Then, metadata.Put(key, value, 0))
		if !targets[mv.target.Session] {
			targets[mv.target.Session] = true
			txn.If = append(txn.If, metadata.CreatedAt(b.l.space.Member(mv.target.Session), mv.target.Created))
		}
	}
	return txn, nil
}
