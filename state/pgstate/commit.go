package pgstate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/state"
)

// Limits of one commit. PostgreSQL itself would take more; beyond these, a
// larger group saves little and holds its locks longer.
const (
	maxCommits = 256
	maxRows    = 1024
	maxBytes   = 4 << 20
)

// Limits implements state.Store.
func (s *Store) Limits() state.Limits { return limits() }

func limits() state.Limits {
	return state.Limits{Commits: maxCommits, Rows: maxRows, Bytes: maxBytes}
}

// Commit implements state.Store with one call of a function, which is a
// transaction of its own: commit_v2 when there are agendas to write, and else
// commit_v1, which costs the server half as much. It is sent once, except after
// a deadlock or a serialization failure, which have undone it.
func (s *Store) Commit(ctx context.Context, commits []state.Commit) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := limits().Check(commits); err != nil {
		return err
	}
	if len(commits) == 0 {
		return nil
	}
	sql, args := s.sql.commit, commitArgs(commits)
	if slices.ContainsFunc(commits, func(c state.Commit) bool { return c.Agenda != nil }) {
		sql, args = s.sql.commitAgendas, append(args, agendaArgs(commits)...)
	}
	var refused *refusal
	err = s.send(ctx, func(ctx context.Context, c *pgxpool.Conn) (err error) {
		rows, err := c.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		refused, err = pgx.CollectExactlyOneRow(rows, scanRefusal)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("state: the commit %s: %w", fate(err), err)
	}
	if refused == nil {
		return nil
	}
	return refused.of(commits)
}

// refusal is a row of commit_v1 or commit_v2: the first commit that was refused.
type refusal struct {
	at      int // from 1
	fenced  bool
	current state.Fence
}

func scanRefusal(row pgx.CollectableRow) (*refusal, error) {
	r := new(refusal)
	var epoch *string
	var session []byte
	if err := row.Scan(&r.at, &r.fenced, &epoch, &session); err != nil {
		return nil, err
	}
	var err error
	r.current, err = decodeFence(epoch, session)
	return r, err
}

func (r *refusal) of(commits []state.Commit) error {
	if r.at < 1 || r.at > len(commits) {
		return fmt.Errorf("state: PostgreSQL refused commit %d of %d", r.at, len(commits))
	}
	c := &commits[r.at-1]
	if r.fenced {
		return &state.FencedError{Shard: c.Actor.Shard, Current: r.current}
	}
	return &state.ConflictError{Actor: c.Actor, Expected: c.Version}
}

// actorColumns are the columns of many actors, as arrays of one length.
type actorColumns struct {
	kinds  [][]byte
	shards []int64
	keys   [][]byte
}

func (a *actorColumns) add(actor state.Actor) {
	a.kinds = append(a.kinds, []byte(actor.Shard.Kind))
	a.shards = append(a.shards, int64(actor.Shard.Number))
	a.keys = append(a.keys, []byte(actor.Key))
}

// commitArgs are the arguments of commit_v1, with which those of commit_v2 begin.
func commitArgs(commits []state.Commit) []any {
	var actors, puts, deletes actorColumns
	var epochs []string
	var sessions, records, putNames, putValues, deleteNames [][]byte
	var versions []int64
	for i := range commits {
		c := &commits[i]
		actors.add(c.Actor)
		epochs = append(epochs, encodeEpoch(c.Fence.Epoch))
		sessions = append(sessions, []byte(c.Fence.Session))
		versions = append(versions, encodeVersion(c.Version))
		records = append(records, notNull(c.Record))
		for _, r := range c.Put {
			puts.add(c.Actor)
			putNames = append(putNames, []byte(r.Name))
			putValues = append(putValues, notNull(r.Value))
		}
		for _, name := range c.Delete {
			deletes.add(c.Actor)
			deleteNames = append(deleteNames, []byte(name))
		}
	}
	return []any{
		actors.kinds, actors.shards, actors.keys, epochs, sessions, versions, records,
		puts.kinds, puts.shards, puts.keys, putNames, putValues,
		deletes.kinds, deletes.shards, deletes.keys, deleteNames,
	}
}

// agendaArgs are the other arguments of commit_v2: null for an agenda that stays.
func agendaArgs(commits []state.Commit) []any {
	dues, deads := make([]*int64, len(commits)), make([]*int64, len(commits))
	for i := range commits {
		if agenda := commits[i].Agenda; agenda != nil {
			dead := int64(agenda.Dead)
			dues[i], deads[i] = &agenda.Due, &dead
		}
	}
	return []any{dues, deads}
}

// encodeEpoch writes an epoch for a column of type numeric: bigint ends at half
// of what an epoch can be.
func encodeEpoch(epoch uint64) string { return strconv.FormatUint(epoch, 10) }

// decodeFence is the fence of columns that are null when there is none.
func decodeFence(epoch *string, session []byte) (state.Fence, error) {
	if epoch == nil {
		return state.Fence{}, nil
	}
	n, err := strconv.ParseUint(*epoch, 10, 64)
	if err != nil {
		return state.Fence{}, fmt.Errorf("state: a fence in PostgreSQL is damaged: epoch %q", *epoch)
	}
	return state.Fence{Epoch: n, Session: string(session)}, nil
}

// encodeVersion writes an expected version for a column of type bigint. No actor
// gets as far as the upper half, so any number that matches none will do.
func encodeVersion(v uint64) int64 {
	if v > math.MaxInt64 {
		return -1
	}
	return int64(v)
}

// notNull keeps an empty value from becoming null.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
