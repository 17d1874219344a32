package pgstate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// migrations are the steps from one version of the schema to the next; the first
// one begins with an empty schema. A step that was released is never changed.
// A step must leave what older versions of this package use, as their nodes go
// on while the first new one starts: functions have their version in their name.
func migrations() []string { return []string{schema1, schema2} }

// schemaLock is the advisory lock of all migrations in a database: "cajun" in
// ASCII. It is not per schema, as two that are created at once in one database
// meet in its catalogue.
const schemaLock = 0x63616a756e

// idleLimit bounds how long the server keeps the lock for a node that died, or
// was cut off, in the middle of a migration.
const idleLimit = "15s"

// NewerSchemaError says that a newer version of this package has migrated the
// schema, and that this one does not know what that changed.
type NewerSchemaError struct {
	// Schema is its name, and Version the number that it has.
	Schema  string
	Version int
	// Known is the newest version that this package knows.
	Known int
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("state: schema %q has version %d, and this program knows none above %d: update the program, or give it another schema",
		e.Schema, e.Version, e.Known)
}

// prepare checks the server's settings and brings the schema up to date.
func (s *Store) prepare(ctx context.Context) error {
	return s.send(ctx, func(ctx context.Context, c *pgxpool.Conn) error {
		var sync string
		if err := c.QueryRow(ctx, "show synchronous_commit").Scan(&sync); err != nil {
			return fmt.Errorf("state: cannot ask PostgreSQL for its settings: %w", err)
		}
		if sync == "off" {
			return errors.New("state: synchronous_commit is off, so a crash of the server would undo acknowledged commits: set it to on for this role or database")
		}
		if current, err := s.current(ctx, c); err != nil || current {
			return err
		}
		return s.migrate(ctx, c)
	})
}

// current reports whether the schema is up to date.
func (s *Store) current(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) (bool, error) {
	version, err := s.version(ctx, q)
	if err != nil {
		return false, err
	}
	known := len(migrations())
	if version > known {
		return false, &NewerSchemaError{Schema: s.schema, Version: version, Known: known}
	}
	return version == known, nil
}

// version reads the schema's version, 0 when there is none.
func (s *Store) version(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) (int, error) {
	var there bool
	err := q.QueryRow(ctx, "select exists (select from pg_catalog.pg_tables where schemaname = $1 and tablename = 'meta')", s.schema).Scan(&there)
	if err != nil {
		return 0, fmt.Errorf("state: cannot look for schema %q: %w", s.schema, err)
	}
	if !there {
		return 0, nil
	}
	var text string
	err = q.QueryRow(ctx, s.sql.version).Scan(&text)
	refusal := new(pgconn.PgError)
	if errors.Is(err, pgx.ErrNoRows) || errors.As(err, &refusal) && refusal.Code == undefinedTable {
		return 0, fmt.Errorf("state: schema %q has a table meta that is not this package's: give another schema", s.schema)
	}
	if err != nil {
		return 0, fmt.Errorf("state: cannot read the version of schema %q: %w", s.schema, err)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("state: schema %q has the version %q, which is none", s.schema, text)
	}
	return n, nil
}

// migrate does the steps that are missing, in one transaction. Of several nodes
// that start together one does them while the others wait.
func (s *Store) migrate(ctx context.Context, c *pgxpool.Conn) (err error) {
	tx, err := c.Begin(ctx)
	if err != nil {
		return fmt.Errorf("state: cannot migrate schema %q: %w", s.schema, err)
	}
	defer func() {
		// After a commit this does nothing. When ctx has ended the connection
		// is closed, which undoes the transaction too.
		_ = tx.Rollback(ctx)
	}()
	if _, err = tx.Exec(ctx, fmt.Sprintf("set local idle_in_transaction_session_timeout = '%s'", idleLimit)); err != nil {
		return fmt.Errorf("state: cannot migrate schema %q: %w", s.schema, err)
	}
	if _, err = tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(schemaLock)); err != nil {
		return fmt.Errorf("state: cannot lock the migration of schema %q: %w", s.schema, err)
	}
	version, err := s.version(ctx, tx)
	if err != nil {
		return err
	}
	if current, err := s.current(ctx, tx); err != nil || current {
		return err
	}
	for n, step := range migrations() {
		if n < version {
			continue
		}
		if err := s.step(ctx, tx, n+1, step); err != nil {
			return fmt.Errorf("state: cannot migrate schema %q to version %d; its role must be allowed to create it: %w", s.schema, n+1, err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("state: the migration of schema %q may or may not be done: %w", s.schema, err)
	}
	return nil
}

func (s *Store) step(ctx context.Context, tx pgx.Tx, version int, sql string) error {
	if version == 1 {
		// "if not exists" alone wants the right to create also when it exists.
		var there bool
		err := tx.QueryRow(ctx, "select exists (select from pg_catalog.pg_namespace where nspname = $1)", s.schema).Scan(&there)
		if err != nil {
			return err
		}
		if !there {
			sql = "create schema {schema};\n" + sql
		}
	}
	if _, err := tx.Exec(ctx, inSchema(s.schema, sql)); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, s.sql.setVersion, []byte(strconv.Itoa(version)))
	return err
}

// inSchema puts the quoted name of a schema into SQL.
func inSchema(schema, sql string) string {
	return strings.ReplaceAll(sql, "{schema}", pgx.Identifier{schema}.Sanitize())
}
