package pgstate

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/state"
)

// TestPlans: no write reads a table as a whole, also as planned while the tables
// are empty, which is how the connections of a new store keep it.
func TestPlans(t *testing.T) {
	needPrivate(t)
	var plans []string
	s := open(t, newSchema(t), func(c *pgxpool.Config) {
		c.MaxConns = 1
		c.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { plans = append(plans, n.Message) }
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `load 'auto_explain'; set auto_explain.log_min_duration = 0;
				set auto_explain.log_nested_statements = on; set client_min_messages = log`)
			return err
		}
	})
	var seals []state.Seal
	var group []state.Commit
	for n := range uint32(60) {
		shard := state.Shard{Kind: "k", Number: n}
		seals = append(seals, state.Seal{Shard: shard, Fence: older})
		c := aCommit(older, 0, "r")
		c.Actor.Shard, c.Delete = shard, []string{"gone"}
		c.Agenda = &state.Agenda{Due: int64(n % 2)} // set or removed
		group = append(group, c)
	}
	for range 8 { // more often than the server plans anew
		for _, err := range s.Seal(deadline(t), seals) {
			if err != nil {
				t.Fatal(err)
			}
		}
		mustCommit(t, s, group...)
		for i := range group {
			group[i].Version++
		}
		wantLoaded := group[0].Version
		if snap, err := s.Load(deadline(t), group[0].Actor, older); err != nil || snap.Version != wantLoaded {
			t.Fatal(snap, err)
		}
		if list, err := s.Agenda(deadline(t), group[1].Actor.Shard, "", 10); err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
	}
	whole := regexp.MustCompile(`Seq Scan on (fences|actors|actor_rows|agendas)|(Merge|Hash) (Left |Right |Semi |Anti )?Join`)
	seen := fmt.Sprint(plans)
	for _, plan := range plans {
		if strings.Contains(plan, "pg_catalog") {
			continue
		}
		if found := whole.FindString(plan); found != "" {
			t.Errorf("%s in %s", found, plan)
		}
	}
	for _, want := range []string{"fences_pkey", "actors_pkey", "actor_rows_pkey", "agendas_pkey", "LockRows"} {
		if !strings.Contains(seen, want) {
			t.Errorf("no plan has %s: the plans were not seen", want)
		}
	}
}
