package pgstate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/state"
	"github.com/cajun-go/cajun/state/statetest"
)

// TestConformance runs the suite with each setting that changes how statements
// are sent or what they see.
func TestConformance(t *testing.T) {
	for name, adjust := range map[string]func(*pgxpool.Config){
		"default": func(*pgxpool.Config) {},
		"serializable, nothing prepared": func(c *pgxpool.Config) {
			c.ConnConfig.RuntimeParams["default_transaction_isolation"] = "serializable"
			c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
		},
		"repeatable read, simple protocol": func(c *pgxpool.Config) {
			c.ConnConfig.RuntimeParams["default_transaction_isolation"] = "repeatable read"
			c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		},
		"one connection": func(c *pgxpool.Config) { c.MaxConns = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			needServer(t)
			statetest.Run(t, func(t testing.TB) state.Store { return open(t, newSchema(t), adjust) })
		})
	}
}

// TestSecondHandle opens the same schema twice, as two nodes do, and another.
func TestSecondHandle(t *testing.T) {
	schema, ctx := newSchema(t), deadline(t)
	one, two, other := open(t, schema), open(t, schema), open(t, newSchema(t))
	if err := one.Bind(ctx, "id\x00"); err != nil {
		t.Fatal(err)
	}
	var wrong *state.ClusterError
	if err := two.Bind(ctx, "id"); !errors.As(err, &wrong) || *wrong != (state.ClusterError{Bound: "id\x00", Asked: "id"}) {
		t.Errorf("Bind to another cluster by another handle: %v", err)
	}
	if err := other.Bind(ctx, "id"); err != nil {
		t.Errorf("Bind in another schema: %v", err)
	}
	mustSeal(t, one, older)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, two, aCommit(older, 0, "r"))
	if err := one.Commit(ctx, []state.Commit{aCommit(older, 1, "r")}); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Commit by the closed handle: %v", err)
	}
}

// TestBindRace: of several clusters that come at once one gets the store, and
// all learn which.
func TestBindRace(t *testing.T) {
	schema := newSchema(t)
	s := open(t, schema)
	const clusters = 8
	errs := make([]error, clusters)
	var wg sync.WaitGroup
	for i := range clusters {
		wg.Go(func() { errs[i] = s.Bind(deadline(t), fmt.Sprint("cluster ", i)) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		if err == nil {
			if winner >= 0 {
				t.Fatalf("clusters %d and %d were both bound", winner, i)
			}
			winner = i
		}
	}
	for i, err := range errs {
		var wrong *state.ClusterError
		if i != winner && (!errors.As(err, &wrong) || wrong.Bound != fmt.Sprint("cluster ", winner)) {
			t.Errorf("cluster %d: %v, want one that names cluster %d", i, err, winner)
		}
	}
}

// TestLayout checks the tables that operators see and that other versions read.
func TestLayout(t *testing.T) {
	schema := newSchema(t)
	s := open(t, schema)
	if err := s.Bind(deadline(t), "id"); err != nil {
		t.Fatal(err)
	}
	mustSeal(t, s, older)
	for version, record := range []string{"r0", "r1"} {
		c := aCommit(older, uint64(version), record)
		c.Agenda = &state.Agenda{Due: math.MaxInt64, Dead: math.MaxUint32}
		mustCommit(t, s, c)
	}
	a := admin(t)
	for sql, want := range map[string]string{
		"select string_agg(concat_ws(' ', name, convert_from(value, 'UTF8')), ', ' order by name) from {schema}.meta":                                                   "cluster id, version 2",
		"select concat_ws(' ', convert_from(kind, 'UTF8'), shard, epoch, convert_from(session, 'UTF8')) from {schema}.fences":                                           "test.v1.Kind 4294967295 7 old owner",
		"select concat_ws(' ', convert_from(kind, 'UTF8'), shard, convert_from(key, 'UTF8'), version, convert_from(record, 'UTF8')) from {schema}.actors":               "test.v1.Kind 4294967295 a 2 r1",
		"select concat_ws(' ', convert_from(kind, 'UTF8'), shard, convert_from(key, 'UTF8'), encode(name, 'escape'), encode(value, 'escape')) from {schema}.actor_rows": "test.v1.Kind 4294967295 a row r1",
		"select concat_ws(' ', convert_from(kind, 'UTF8'), shard, convert_from(key, 'UTF8'), due, dead) from {schema}.agendas":                                          "test.v1.Kind 4294967295 a 9223372036854775807 4294967295",
	} {
		var got string
		if err := a.QueryRow(a.ctx, inSchema(schema, sql)).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", sql, got, err, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx := deadline(t)
	for _, name := range []string{"", "Cajun", "1a", "a b", `a"`, strings.Repeat("s", 64)} {
		if _, err := Open(ctx, "host=localhost", WithSchema(name)); err == nil || !strings.Contains(err.Error(), "lower-case") {
			t.Errorf("schema %q: %v", name, err)
		}
	}
	if _, err := Open(ctx, "host=localhost port=seven password=secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a connection string that is none: %v", err)
	}
	if _, err := OpenConfig(ctx, nil); err == nil {
		t.Error("no configuration was taken")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent := fmt.Sprintf("host=127.0.0.1 port=%d sslmode=disable", l.Addr().(*net.TCPAddr).Port)
	ended, cancel := context.WithCancel(ctx)
	go func() {
		if c, err := l.Accept(); err == nil { // it takes the connection and says nothing
			defer c.Close()
			cancel()
			<-ctx.Done()
		}
	}()
	if _, err := Open(ended, silent); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ends: %v", err)
	}
	needServer(t)
	_, err = OpenConfig(ctx, func() *pgxpool.Config {
		cfg := config(t, newSchema(t))
		cfg.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
		return cfg
	}())
	if err == nil || !strings.Contains(err.Error(), "synchronous_commit") {
		t.Errorf("a server that does not wait for its disk: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	schema := newSchema(t)
	add := " pool_max_conns=3"
	if u, err := url.Parse(server.conn); err == nil && u.Scheme != "" {
		add = "&pool_max_conns=3"
		if u.RawQuery == "" {
			add = "?pool_max_conns=3"
		}
	}
	for add, want := range map[string]int32{"": DefaultMaxConns, add: 3} {
		s, err := Open(deadline(t), server.conn+add, WithSchema(schema))
		if err != nil {
			t.Fatal(err)
		}
		if n := s.pool.Config().MaxConns; n != want {
			t.Errorf("with %q: %d connections, want %d", add, n, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
