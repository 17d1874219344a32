package pgstate

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/state"
)

// TestMigrateTogether: many nodes start at once, with nothing there yet.
func TestMigrateTogether(t *testing.T) {
	const nodes, rounds = 8, 3
	for range rounds {
		schemas := []string{newSchema(t), newSchema(t)}
		stores, errs := make([]*Store, nodes), make([]error, nodes)
		var wg sync.WaitGroup
		for i := range nodes {
			schema := schemas[i%len(schemas)]
			wg.Go(func() { stores[i], errs[i] = OpenConfig(deadline(t), config(t, schema), WithSchema(schema)) })
		}
		wg.Wait()
		for i := range nodes {
			if errs[i] != nil {
				t.Errorf("node %d: %v", i, errs[i])
				continue
			}
			if err := seal(stores[i], deadline(t), state.Fence{Epoch: uint64(i + 1), Session: "s"}); err != nil {
				t.Error(err)
			}
			if err := stores[i].Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestNewerSchema(t *testing.T) {
	schema := newSchema(t)
	open(t, schema)
	known := len(migrations())
	admin(t).exec(inSchema(schema, "update {schema}.meta set value = $1 where name = 'version'"), []byte(fmt.Sprint(known+1)))
	_, err := OpenConfig(deadline(t), config(t, schema), WithSchema(schema))
	newer := new(NewerSchemaError)
	if !errors.As(err, &newer) || *newer != (NewerSchemaError{Schema: schema, Version: known + 1, Known: known}) {
		t.Errorf("a schema from the future: %v", err)
	}
}

// TestForeignTables: what is there and is not the package's stays untouched.
func TestForeignTables(t *testing.T) {
	for name, table := range map[string]string{
		"other columns": "create table {schema}.meta (id int)",
		"no version":    "create table {schema}.meta (name text, value bytea)",
		"odd version":   "create table {schema}.meta as select 'version' as name, 'two'::bytea as value",
	} {
		schema := newSchema(t)
		a := admin(t)
		a.exec(inSchema(schema, "create schema {schema}; "+table))
		if _, err := OpenConfig(deadline(t), config(t, schema), WithSchema(schema)); err == nil || !strings.Contains(err.Error(), schema) {
			t.Errorf("%s: %v", name, err)
		}
		if n := a.number("select count(*) from pg_tables where schemaname = $1", schema); n != 1 {
			t.Errorf("%s: there are %d tables now", name, n)
		}
	}
}

// TestPlainRole: who may use the schema needs no right to create anything, and
// who may not create it learns what is missing.
func TestPlainRole(t *testing.T) {
	needPrivate(t)
	schema, a := newSchema(t), admin(t)
	role := fmt.Sprintf("cajun_plain_%d", os.Getpid())
	a.exec("create role " + role + " login")
	t.Cleanup(func() { admin(t).exec("drop owned by " + role + "; drop role " + role) })
	plain := func(c *pgxpool.Config) { c.ConnConfig.User = role }

	cfg := config(t, schema)
	plain(cfg)
	if _, err := OpenConfig(deadline(t), cfg, WithSchema(schema)); err == nil || !strings.Contains(err.Error(), "allowed to create") {
		t.Errorf("without any rights: %v", err)
	}
	open(t, schema)
	a.exec(inSchema(schema, "grant usage on schema {schema} to "+role))
	a.exec(inSchema(schema, "grant select, insert, update, delete on all tables in schema {schema} to "+role))
	a.exec(inSchema(schema, "grant execute on all functions in schema {schema} to "+role))
	s := open(t, schema, plain)
	if err := s.Bind(deadline(t), "id"); err != nil {
		t.Error(err)
	}
	mustSeal(t, s, older)
	c := aCommit(older, 0, "r")
	c.Delete = []string{"gone"}
	mustCommit(t, s, c)
	wantRecord(t, s, older, 1, "r")
	// The lock of the table needs no more.
	if _, err := s.sendSeals(deadline(t), []state.Seal{{Shard: testShard, Fence: newer}}, []int{0}, true); err != nil {
		t.Error(err)
	}
}
