package pgstate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/state"
)

// maxSeals is how many shards one transaction seals: their locks are held
// together.
const maxSeals = 256

// Seal implements state.Store with a transaction per 256 shards. A failure of
// one leaves the results of the others as they are.
//
// A seal waits for the commits under the old fence that are under way. Locks of
// rows are not fair in PostgreSQL: commits that share a lock overtake a seal that
// waits for it, for as long as there are some. So a seal that has waited for a
// quarter of a second starts again with a lock of the table, which lets the
// commits under way finish and holds up all others, of all shards, until it is
// done.
func (s *Store) Seal(ctx context.Context, seals []state.Seal) []error {
	errs := make([]error, len(seals))
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	defer leave()
	var group []int
	inGroup := make(map[state.Shard]bool)
	flush := func() {
		s.sealGroup(ctx, seals, group, errs)
		group = group[:0]
		clear(inGroup)
	}
	for i, seal := range seals {
		if errs[i] = seal.Check(); errs[i] != nil {
			continue
		}
		// PostgreSQL takes a row once per statement.
		if len(group) == maxSeals || inGroup[seal.Shard] {
			flush()
		}
		group = append(group, i)
		inGroup[seal.Shard] = true
	}
	flush()
	return errs
}

// sealGroup sends the seals that group points at, and sets their errors.
func (s *Store) sealGroup(ctx context.Context, seals []state.Seal, group []int, errs []error) {
	if len(group) == 0 {
		return
	}
	current, err := s.sendSeals(ctx, seals, group, false)
	if code(err) == lockNotAvailable {
		current, err = s.sendSeals(ctx, seals, group, true)
	}
	for n, i := range group {
		if err != nil {
			errs[i] = fmt.Errorf("state: the seal of shard %s with epoch %d %s: %w",
				seals[i].Shard, seals[i].Fence.Epoch, fate(err), err)
			continue
		}
		if fence, refused := current[n+1]; refused {
			errs[i] = &state.FencedError{Shard: seals[i].Shard, Current: fence}
		}
	}
}

// sendSeals calls seal_v1, with the table locked or not, and returns the stored
// fences of the shards that refused, by their place in the group from 1.
func (s *Store) sendSeals(ctx context.Context, seals []state.Seal, group []int, table bool) (map[int]state.Fence, error) {
	var kinds, sessions [][]byte
	var shards []int64
	var epochs []string
	for _, i := range group {
		seal := &seals[i]
		kinds = append(kinds, []byte(seal.Shard.Kind))
		shards = append(shards, int64(seal.Shard.Number))
		epochs = append(epochs, encodeEpoch(seal.Fence.Epoch))
		sessions = append(sessions, []byte(seal.Fence.Session))
	}
	var current map[int]state.Fence
	err := s.send(ctx, func(ctx context.Context, c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, s.sql.seal, kinds, shards, epochs, sessions, table)
		if err != nil {
			return err
		}
		current = make(map[int]state.Fence)
		var at int
		var epoch *string
		var session []byte
		_, err = pgx.ForEachRow(rows, []any{&at, &epoch, &session}, func() (err error) {
			current[at], err = decodeFence(epoch, session)
			return err
		})
		return err
	})
	return current, err
}
