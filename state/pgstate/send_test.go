package pgstate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cajun-go/cajun/state"
)

// TestUndone: only what the server has rolled back, and has said so without
// ending, may be sent again.
func TestUndone(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&pgconn.PgError{Severity: "ERROR", Code: "40001"}, true},
		{&pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "40P01"}, true},
		{&pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: "ERROR", Code: "40001"}, true},
		{&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "25006"}, true},
		{fmt.Errorf("wrapped: %w", &pgconn.PgError{Severity: "ERROR", Code: "40001"}), true},
		{&pgconn.PgError{SeverityUnlocalized: "FATAL", Code: "40001"}, false},
		{&pgconn.PgError{SeverityUnlocalized: "FATAL", Code: "57P01"}, false},
		{&pgconn.PgError{SeverityUnlocalized: "PANIC", Code: "57P02"}, false},
		{&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "40003"}, false}, // completion unknown
		{&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "40002"}, false},
		{&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "53100"}, false}, // a full disk does not get empty
		{&pgconn.PgError{SeverityUnlocalized: "ERROR", Code: "57014"}, false},
		{io.ErrUnexpectedEOF, false},
		{context.DeadlineExceeded, false},
		{errUnsent, false},
		{errUnreplicated, false},
		{nil, false},
	} {
		if got := undone(c.err); got != c.want {
			t.Errorf("undone(%v) = %v", c.err, got)
		}
	}
}

// failing makes inserts into the records of a schema fail with code until it
// has failed as often as times.
func failing(t *testing.T, schema, code string, times int) *raw {
	t.Helper()
	a := admin(t)
	a.exec(inSchema(schema, "create sequence {schema}.attempts"))
	a.exec(inSchema(schema, fmt.Sprintf(`create function {schema}.fail() returns trigger language plpgsql as $$
		begin
			if nextval('{schema}.attempts') <= %d then
				raise exception 'injected' using errcode = '%s';
			end if;
			return new;
		end $$`, times, code)))
	a.exec(inSchema(schema, "create trigger fail before insert on {schema}.actors for each row execute function {schema}.fail()"))
	return a
}

// TestRepeats: a transaction that the server has undone is sent again, a bounded
// number of times, and no other is.
func TestRepeats(t *testing.T) {
	most := retries().MaxAttempts
	for name, c := range map[string]struct {
		code            string
		times, attempts int
		fails           bool
	}{
		"serialization failure": {"40001", 3, 4, false},
		"deadlock":              {"40P01", 2, 3, false},
		"read only":             {"25006", 1, 2, false},
		"without end":           {"40001", 1000, most, true},
		"disk full":             {"53100", 1, 1, true},
		"completion unknown":    {"40003", 1, 1, true},
		"cancelled":             {"57014", 1, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, newSchema(t))
			mustSeal(t, s, older)
			a := failing(t, s.schema, c.code, c.times)
			err := s.Commit(deadline(t), []state.Commit{aCommit(older, 0, "r")})
			if c.fails {
				wantUnknown(t, err)
				wantRecord(t, s, older, 0, "")
			} else if err != nil {
				t.Error(err)
			} else {
				wantRecord(t, s, older, 1, "r")
			}
			if n := a.number(inSchema(s.schema, "select last_value from {schema}.attempts")); n != c.attempts {
				t.Errorf("%d attempts, want %d", n, c.attempts)
			}
		})
	}
}

// TestUnreplicated: a commit that waits for its standbys is done on this server,
// but a failover would undo it. Neither who cancels the wait nor who ends the
// connection makes it certain.
func TestUnreplicated(t *testing.T) {
	needPrivate(t)
	for _, end := range []string{"pg_cancel_backend", "pg_terminate_backend"} {
		t.Run(end, func(t *testing.T) {
			s, a := open(t, newSchema(t)), admin(t)
			mustSeal(t, s, older)
			standbys := func(names string) {
				a := admin(t)
				a.exec("set synchronous_commit = local")
				a.exec("alter system set synchronous_standby_names = '" + names + "'")
				a.exec("select pg_reload_conf()")
				until(t, "the setting holds", func() bool {
					var now string
					if err := a.QueryRow(a.ctx, "show synchronous_standby_names").Scan(&now); err != nil {
						t.Fatal(err)
					}
					return now == names
				})
			}
			standbys("nobody")
			defer standbys("")
			// The server takes a setting over at some time soon; until then commits
			// wait for nobody.
			var version uint64
			done := make(chan error, 1)
			go func() {
				var err error
				for ; err == nil; version++ {
					err = s.Commit(deadline(t), []state.Commit{aCommit(older, version, "r")})
				}
				done <- err
			}()
			until(t, "the commit waits for a standby, and was told", func() bool {
				return a.number("select count("+end+"(pid)) from pg_stat_activity where application_name = $1 and wait_event = 'SyncRep'", s.schema) == 1
			})
			err := <-done
			wantUnknown(t, err)
			if err != nil && !strings.Contains(err.Error(), "may or may not") {
				t.Errorf("Commit = %v", err)
			}
			if end == "pg_cancel_backend" && !errors.Is(err, errUnreplicated) {
				t.Errorf("Commit = %v, want errUnreplicated", err)
			}
			wantRecord(t, s, older, version, "r")
		})
	}
}
