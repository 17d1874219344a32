package pgstate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/state"
)

// Load implements state.Store with one statement, which sees the database as of
// one moment. Whoever holds the fence sees every commit that was applied before
// its seal, as the seal has waited for it. Nothing is locked.
func (s *Store) Load(ctx context.Context, actor state.Actor, fence state.Fence) (state.Snapshot, error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return state.Snapshot{}, err
	}
	defer leave()
	if err := actor.Check(); err != nil {
		return state.Snapshot{}, err
	}
	var found loaded
	err = s.send(ctx, func(ctx context.Context, c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, s.sql.load, []byte(actor.Shard.Kind), int64(actor.Shard.Number), []byte(actor.Key))
		if err != nil {
			return err
		}
		found, err = scanLoaded(rows)
		return err
	})
	if err != nil {
		return state.Snapshot{}, fmt.Errorf("state: an actor of shard %s could not be loaded: %w", actor.Shard, err)
	}
	if !found.sealed || found.fence != fence {
		return state.Snapshot{}, &state.FencedError{Shard: actor.Shard, Current: found.fence}
	}
	return found.snap, nil
}

// loaded is what the load statement has found.
type loaded struct {
	sealed bool
	fence  state.Fence
	snap   state.Snapshot
}

// Each row of the load statement says what it is.
const (
	loadedFence  = 0
	loadedRecord = 1
	loadedRow    = 2
)

func scanLoaded(rows pgx.Rows) (loaded, error) {
	var l loaded
	var what int
	var epoch *string
	var version *int64
	var name, value []byte
	_, err := pgx.ForEachRow(rows, []any{&what, &epoch, &version, &name, &value}, func() (err error) {
		switch what {
		case loadedFence:
			l.sealed = true
			l.fence, err = decodeFence(epoch, value)
		case loadedRecord:
			l.snap.Version, l.snap.Record = uint64(*version), value
		case loadedRow:
			l.snap.Rows = append(l.snap.Rows, state.Row{Name: string(name), Value: value})
		}
		return err
	})
	return l, err
}
