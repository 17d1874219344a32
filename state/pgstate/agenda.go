package pgstate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/state"
)

// Agenda implements state.Store with one statement, which sees what was
// committed before it began. The type bytea sorts by bytes.
func (s *Store) Agenda(ctx context.Context, shard state.Shard, after string, limit int) ([]state.Entry, error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := state.CheckAgenda(shard, limit); err != nil {
		return nil, err
	}
	var list []state.Entry
	err = s.send(ctx, func(ctx context.Context, c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, s.sql.agenda, []byte(shard.Kind), int64(shard.Number), []byte(after), int64(limit))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanEntry)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("state: the agendas of shard %s could not be listed: %w", shard, err)
	}
	return list, nil
}

func scanEntry(row pgx.CollectableRow) (state.Entry, error) {
	var key []byte
	var due, dead int64
	err := row.Scan(&key, &due, &dead)
	return state.Entry{Key: string(key), Agenda: state.Agenda{Due: due, Dead: uint32(dead)}}, err
}
