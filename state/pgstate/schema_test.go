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

// commit1 commits as version 1 of the package does.
func (r *raw) commit1(schema string, commits ...state.Commit) {
	r.Helper()
	refused := r.number("select count(*) from "+inSchema(schema, "{schema}.commit_v1("+commitColumns+")"), commitArgs(commits)...)
	if refused != 0 {
		r.Fatal("version 1 was refused")
	}
}

// version1 makes a schema of version 1, as that version left it: bound, and
// with a shard sealed by older.
func version1(t *testing.T) string {
	t.Helper()
	schema, a := newSchema(t), admin(t)
	a.exec(inSchema(schema, "create schema {schema};\n"+schema1))
	a.exec(inSchema(schema, "insert into {schema}.meta values ('version', '1'), ('cluster', 'id')"))
	sealed := a.number("select count(*) from "+inSchema(schema, "{schema}.seal_v1($1, $2, $3::text[]::numeric[], $4, false)"),
		[][]byte{[]byte(testShard.Kind)}, []int64{int64(testShard.Number)}, []string{encodeEpoch(older.Epoch)}, [][]byte{[]byte(older.Session)})
	if sealed != 0 {
		t.Fatal("version 1 could not seal")
	}
	return schema
}

// TestMigrateFrom1: what version 1 has written is there in version 2, and nodes
// of version 1 go on while the first new ones start.
func TestMigrateFrom1(t *testing.T) {
	schema, a := version1(t), admin(t)
	first := aCommit(older, 0, "first")
	a.commit1(schema, first)
	a.commit1(schema, aCommit(older, 1, "second"))

	s := open(t, schema)
	if n := a.number(inSchema(schema, "select convert_from(value, 'UTF8')::int from {schema}.meta where name = 'version'")); n != len(migrations()) {
		t.Errorf("the schema has version %d now", n)
	}
	var wrong *state.ClusterError
	if err := s.Bind(deadline(t), "other"); !errors.As(err, &wrong) || wrong.Bound != "id" {
		t.Errorf("Bind to another cluster: %v", err)
	}
	wantRecord(t, s, older, 2, "second")
	wantAgendas(t, s)
	third := aCommit(older, 2, "third")
	third.Agenda = &state.Agenda{Due: 5, Dead: 6}
	mustCommit(t, s, third)
	wantAgendas(t, s, state.Entry{Key: "a", Agenda: *third.Agenda})

	a.commit1(schema, aCommit(older, 3, "fourth"))
	wantRecord(t, s, older, 4, "fourth")
	wantAgendas(t, s, state.Entry{Key: "a", Agenda: *third.Agenda})
	mustSeal(t, s, newer)
	last := aCommit(newer, 4, "last")
	last.Agenda = new(state.Agenda)
	mustCommit(t, s, last)
	wantAgendas(t, s)
	// Who opens it again finds nothing to do.
	wantRecord(t, open(t, schema), newer, 5, "last")
}

// TestMigrateTogether: many nodes start at once, with nothing there yet or with
// what version 1 has left.
func TestMigrateTogether(t *testing.T) {
	const nodes, rounds = 8, 3
	for range rounds {
		schemas := []string{newSchema(t), version1(t)}
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
			if err := seal(stores[i], deadline(t), state.Fence{Epoch: older.Epoch + uint64(i+1), Session: "s"}); err != nil {
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

// plainRole makes a role without rights, and returns it with what makes a pool
// use it.
func plainRole(t *testing.T) (role string, plain func(*pgxpool.Config)) {
	t.Helper()
	needPrivate(t)
	role = fmt.Sprintf("cajun_plain_%d", os.Getpid())
	admin(t).exec("create role " + role + " login")
	t.Cleanup(func() { admin(t).exec("drop owned by " + role + "; drop role " + role) })
	return role, func(c *pgxpool.Config) { c.ConnConfig.User = role }
}

// grantUse lets a role use a schema.
func (r *raw) grantUse(schema, role string) {
	r.Helper()
	r.exec(inSchema(schema, "grant usage on schema {schema} to "+role))
	r.exec(inSchema(schema, "grant select, insert, update, delete on all tables in schema {schema} to "+role))
	r.exec(inSchema(schema, "grant execute on all functions in schema {schema} to "+role))
}

// TestMigrateKeepsRights: who could use the schema before, can use all of it
// after another role has migrated it.
func TestMigrateKeepsRights(t *testing.T) {
	role, plain := plainRole(t)
	for name, give := range map[string]func(a *raw, schema string){
		"granted": func(a *raw, schema string) { a.grantUse(schema, role) },
		"owned": func(a *raw, schema string) {
			a.exec(inSchema(schema, "grant usage on schema {schema} to "+role))
			for _, table := range []string{"meta", "fences", "actors", "actor_rows"} {
				a.exec(inSchema(schema, "alter table {schema}."+table+" owner to "+role))
			}
		},
		"everybody's": func(a *raw, schema string) { a.grantUse(schema, "public") },
	} {
		t.Run(name, func(t *testing.T) {
			schema := version1(t)
			give(admin(t), schema)
			open(t, schema)
			s := open(t, schema, plain)
			for version, due := range []int64{1, 2, 0, 3} {
				mustCommit(t, s, withAgenda(older, uint64(version), "r", due))
			}
			wantAgendas(t, s, agendaDue(3))
		})
	}
}

// TestPlainRole: who may use the schema needs no right to create anything, and
// who may not create it learns what is missing.
func TestPlainRole(t *testing.T) {
	role, plain := plainRole(t)
	schema, a := newSchema(t), admin(t)
	cfg := config(t, schema)
	plain(cfg)
	if _, err := OpenConfig(deadline(t), cfg, WithSchema(schema)); err == nil || !strings.Contains(err.Error(), "allowed to create") {
		t.Errorf("without any rights: %v", err)
	}
	open(t, schema)
	a.grantUse(schema, role)
	s := open(t, schema, plain)
	if err := s.Bind(deadline(t), "id"); err != nil {
		t.Error(err)
	}
	mustSeal(t, s, older)
	c := aCommit(older, 0, "r")
	c.Delete, c.Agenda = []string{"gone"}, &state.Agenda{Due: 1}
	mustCommit(t, s, c)
	wantRecord(t, s, older, 1, "r")
	wantAgendas(t, s, state.Entry{Key: "a", Agenda: *c.Agenda})
	// The lock of the table needs no more.
	if _, err := s.sendSeals(deadline(t), []state.Seal{{Shard: testShard, Fence: newer}}, []int{0}, true); err != nil {
		t.Error(err)
	}
}
