package pgstate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/guarantee"
)

const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	readOnlyTransaction  = "25006"
	lockNotAvailable     = "55P03"
	undefinedTable       = "42P01"
)

var (
	// errUnsent says that a request did not get as far as a connection.
	errUnsent = errors.New("got no connection to PostgreSQL")
	// errUnreplicated says that a write is done here, but was not confirmed by
	// the standbys that have to have it.
	errUnreplicated = errors.New("the wait for synchronous replication was cancelled")
)

// retries shapes the pauses after refusals that certainly undid everything. A
// deadlock is found after a second (deadlock_timeout), so few attempts suffice.
func retries() guarantee.RetryPolicy {
	return guarantee.RetryPolicy{InitialBackoff: 2 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, MaxAttempts: 10}
}

// send runs do with a connection of the pool. It runs it again, a bounded number
// of times, after errors that promise that nothing was written, and never after
// any other.
func (s *Store) send(ctx context.Context, do func(context.Context, *pgxpool.Conn) error) error {
	policy := retries()
	for n := 1; ; n++ {
		err := s.sendOnce(ctx, do)
		if err == nil {
			return nil
		}
		if !undone(err) || !policy.Allows(n+1) || !pause(ctx, policy.Pause(n, rand.Float64())) {
			return explain(ctx, err)
		}
	}
}

func (s *Store) sendOnce(ctx context.Context, do func(context.Context, *pgxpool.Conn) error) error {
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnsent, err)
	}
	defer c.Release()
	notes := c.Conn().PgConn().CustomData()
	delete(notes, unreplicatedNote)
	err = do(ctx, c)
	if _, noted := notes[unreplicatedNote]; noted && err == nil {
		err = errUnreplicated
	}
	if code(err) == readOnlyTransaction {
		// The server was a primary when the connection was made. The next
		// connection looks for the one that is it now.
		discard(ctx, c.Conn())
	}
	return err
}

// discard closes a connection, so that the pool forgets it.
func discard(ctx context.Context, c *pgx.Conn) {
	_ = c.Close(ctx) // it is given up in any case
}

// undone reports whether err promises that the transaction left no trace, so
// that it may be sent again: no byte of it was sent, or the server itself has
// rolled it back. A server that ends (57P01, 57P02) promises nothing: it may say
// so after the transaction was committed, while it waited for its standbys. Such
// errors are not of severity ERROR but FATAL.
func undone(err error) bool {
	if errors.Is(err, errUnsent) {
		return false // it was waited for already
	}
	if pgconn.SafeToRetry(err) {
		return true
	}
	switch code(err) {
	case serializationFailure, deadlockDetected, readOnlyTransaction:
		return true
	}
	return false
}

// code is the SQLSTATE of an error that has ended a statement and nothing else,
// and otherwise "".
func code(err error) string {
	refusal := new(pgconn.PgError)
	if !errors.As(err, &refusal) {
		return ""
	}
	severity := refusal.SeverityUnlocalized
	if severity == "" {
		severity = refusal.Severity
	}
	if severity != "ERROR" {
		return ""
	}
	return refusal.Code
}

// fate says what became of a write that err has ended, for people; its callers
// take every such error for one that leaves it open.
func fate(err error) string {
	if errors.Is(err, errUnsent) || code(err) != "" {
		return "was not applied"
	}
	return "may or may not have been applied"
}

// explain adds why ctx has ended when err itself does not say it: a server may
// notice the end first, and then its answer does not match the context's error.
func explain(ctx context.Context, err error) error {
	ended := ctx.Err()
	if ended == nil {
		return err
	}
	if context.Cause(ctx) == errEnding {
		return fmt.Errorf("%w: %w", errEnding, err)
	}
	if !errors.Is(err, ended) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// pause waits for d, and reports false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// unreplicatedNote is the key of a connection's custom data.
const unreplicatedNote = "cajun: not replicated"

// noteUnreplicated catches the one warning that makes success doubtful: someone
// cancelled a commit that waited for its synchronous standbys. The server then
// reports success, but a failover may undo the commit. The warning has no code
// and its text a language, so it is known by where it comes from.
func noteUnreplicated(c *pgconn.PgConn, n *pgconn.Notice) {
	if n.Routine == "SyncRepWaitForLSN" {
		c.CustomData()[unreplicatedNote] = true
	}
}
