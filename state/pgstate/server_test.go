package pgstate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/state"
)

// serverVariable is the environment variable with the connection string of a
// server to test with. Without it the tests start one of their own.
const serverVariable = "CAJUN_POSTGRES"

// server is the PostgreSQL of this test process, or why there is none. TestMain
// sets it before anything runs.
var server struct {
	conn    string
	private bool
	why     string
}

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if server.conn = os.Getenv(serverVariable); server.conn != "" {
		return m.Run()
	}
	conn, stop, err := startServer()
	switch {
	case errors.Is(err, errNoServer):
		server.why = err.Error()
	case err != nil:
		fmt.Fprintln(os.Stderr, "a PostgreSQL for the tests cannot be started:", err)
		return 1
	default:
		defer stop()
		server.conn, server.private = conn, true
	}
	return m.Run()
}

var errNoServer = errors.New("no PostgreSQL to test with: install one (apt-get install postgresql), or set " + serverVariable + " to the connection string of one")

func needServer(t testing.TB) {
	t.Helper()
	if server.conn == "" {
		t.Skip(server.why)
	}
}

// needPrivate skips tests that change the server for everybody.
func needPrivate(t testing.TB) {
	t.Helper()
	needServer(t)
	if !server.private {
		t.Skip("this test changes settings of the server, so it needs one of its own: unset " + serverVariable)
	}
}

// testSchemas counts the schemas of this process.
var testSchemas atomic.Int64

// newSchema names a schema that is not there, and drops it in the end.
func newSchema(t testing.TB) string {
	t.Helper()
	needServer(t)
	name := fmt.Sprintf("cajun_test_%d_%d", os.Getpid(), testSchemas.Add(1))
	t.Cleanup(func() { admin(t).exec("drop schema if exists " + name + " cascade") })
	return name
}

// config is the configuration of a store's pool. The schema's name is the name
// by which the server knows its connections.
func config(t testing.TB, schema string) *pgxpool.Config {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(server.conn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = DefaultMaxConns
	cfg.ConnConfig.RuntimeParams["application_name"] = schema
	return cfg
}

// open opens a store in a schema, with a configuration that adjust changes.
func open(t testing.TB, schema string, adjust ...func(*pgxpool.Config)) *Store {
	t.Helper()
	cfg := config(t, schema)
	for _, change := range adjust {
		change(cfg)
	}
	s, err := OpenConfig(deadline(t), cfg, WithSchema(schema))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// deadline bounds what a test waits for.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// raw is a connection beside the stores.
type raw struct {
	testing.TB
	*pgx.Conn
	ctx context.Context
}

func admin(t testing.TB) *raw {
	t.Helper()
	ctx := deadline(t)
	c, err := pgx.Connect(ctx, server.conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(ctx) })
	return &raw{t, c, ctx}
}

func (r *raw) exec(sql string, args ...any) {
	r.Helper()
	if _, err := r.Exec(r.ctx, sql, args...); err != nil {
		r.Fatalf("%s: %v", sql, err)
	}
}

// number is the result of a query that counts.
func (r *raw) number(sql string, args ...any) int {
	r.Helper()
	var n int
	if err := r.QueryRow(r.ctx, sql, args...).Scan(&n); err != nil {
		r.Fatalf("%s: %v", sql, err)
	}
	return n
}

// waiting counts the schema's connections that wait for a lock.
func (r *raw) waiting(schema string) int {
	r.Helper()
	return r.number("select count(*) from pg_stat_activity where application_name = $1 and wait_event_type = 'Lock'", schema)
}

// until polls a condition.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("in vain: waited until %s", what)
		}
	}
}

var (
	testShard = state.Shard{Kind: "test.v1.Kind", Number: 1<<32 - 1}
	older     = state.Fence{Epoch: 7, Session: "old owner"}
	newer     = state.Fence{Epoch: 8, Session: "new owner"}
)

// aCommit is a commit of one actor with a row beside the record.
func aCommit(f state.Fence, version uint64, record string) state.Commit {
	return state.Commit{
		Actor: state.Actor{Shard: testShard, Key: "a"}, Fence: f, Version: version,
		Record: []byte(record), Put: []state.Row{{Name: "row", Value: []byte(record)}},
	}
}

func seal(s *Store, ctx context.Context, f state.Fence) error {
	return s.Seal(ctx, []state.Seal{{Shard: testShard, Fence: f}})[0]
}

func mustSeal(t testing.TB, s *Store, f state.Fence) {
	t.Helper()
	if err := seal(s, deadline(t), f); err != nil {
		t.Fatal(err)
	}
}

func mustCommit(t testing.TB, s *Store, commits ...state.Commit) {
	t.Helper()
	if err := s.Commit(deadline(t), commits); err != nil {
		t.Fatal(err)
	}
}

// wantRecord checks what is stored of the actor of aCommit.
func wantRecord(t testing.TB, s *Store, f state.Fence, version uint64, record string) {
	t.Helper()
	snap, err := s.Load(deadline(t), aCommit(f, 0, "").Actor, f)
	if err != nil {
		t.Fatal(err)
	}
	if snap.Version != version || string(snap.Record) != record {
		t.Errorf("stored are version %d and %q, want %d and %q", snap.Version, snap.Record, version, record)
	}
}

// wantAgendas checks the agendas of the tests' shard.
func wantAgendas(t testing.TB, s *Store, want ...state.Entry) {
	t.Helper()
	got, err := s.Agenda(deadline(t), testShard, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the agendas are %v, want %v", got, want)
	}
}

// wantUnknown checks that err leaves open what happened.
func wantUnknown(t testing.TB, err error) {
	t.Helper()
	var fenced *state.FencedError
	var conflict *state.ConflictError
	if err == nil || errors.As(err, &fenced) || errors.As(err, &conflict) ||
		errors.Is(err, state.ErrTooLarge) || errors.Is(err, state.ErrInvalid) || errors.Is(err, state.ErrClosed) {
		t.Errorf("got %v, want an error that leaves the fate open", err)
	}
}
