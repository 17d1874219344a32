// Package pgstate keeps actor state in PostgreSQL, version 13 or later.
//
// A commit, a group of seals and a load are one statement and one round trip
// each. Commits and seals call a function that the package stores in the
// database, so that no lock is ever held while the server waits for a client:
// a node that dies, freezes or is cut off in the middle of a commit keeps
// nobody from sealing its shards.
//
// # What it needs of the server
//
// There must be one primary, and only the primary may be written to: two that
// both take writes, as after a failover that did not stop the old one, undo
// every promise. A standby that takes over must have every commit that was
// acknowledged: fail over to synchronous standbys only (synchronous_commit on
// or remote_apply, and synchronous_standby_names). Open refuses a connection
// with synchronous_commit off. fsync must be on, and autovacuum too, as the
// locks that fence commits consume multixact IDs.
//
// The functions are PL/pgSQL, and several nodes that start at once take turns
// by an advisory lock. CockroachDB has no advisory locks; the package is not
// tested there.
//
// # Rights
//
// Open creates and migrates the schema, which takes a role that may do so. When
// the schema is up to date, a role suffices that may use it: USAGE on the
// schema, SELECT, INSERT, UPDATE and DELETE on its tables, EXECUTE on its
// functions. A migration gives the same rights to the tables that it adds.
package pgstate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cajun-go/cajun/state"
)

const (
	// DefaultSchema is the schema of the tables when WithSchema names no other.
	DefaultSchema = "cajun"
	// DefaultMaxConns bounds the connections of a store whose connection string
	// does not say pool_max_conns. A node writes few groups at once; the others
	// are for loads and seals, which must not wait behind them.
	DefaultMaxConns = 16
	// connectTimeout bounds an attempt to connect to one host, so that the next
	// one of a list is reached while callers still wait.
	connectTimeout = 5 * time.Second
)

// Store is a state.Store in a schema of a PostgreSQL database.
type Store struct {
	pool   *pgxpool.Pool
	schema string
	sql    statements

	// ending is done when Close was called, which ends calls under way.
	ending context.Context
	end    context.CancelFunc

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
}

var _ state.Store = (*Store)(nil)

// errEnding is why a call was cut off that Close has met. It is not
// state.ErrClosed, which promises that nothing was written.
var errEnding = errors.New("the store was closed meanwhile")

// Option changes how Open and OpenConfig open a store.
type Option func(*options) error

type options struct{ schema string }

// WithSchema sets the schema that holds the tables, one per cluster; else it is
// DefaultSchema. A name has 1 to 63 characters: lower-case letters, digits and
// underscores, and no digit first.
func WithSchema(name string) Option {
	return func(o *options) error {
		if !regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`).MatchString(name) {
			return fmt.Errorf("state: schema %q: use 1 to 63 lower-case letters, digits and underscores, no digit first", name)
		}
		o.schema = name
		return nil
	}
}

// Open connects to the PostgreSQL of connString, a URL or a list of settings as
// pgxpool.ParseConfig takes them, with TLS, credentials and pool sizes; creates
// or migrates the schema; and returns the store. It fails when no server can be
// reached, or ctx ends, or the schema is of a newer version of this package.
//
// Of several hosts the one is used that takes writes.
func Open(ctx context.Context, connString string, opts ...Option) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return nil, fmt.Errorf("state: the connection string is of no use: %w", err)
	}
	if !strings.Contains(connString, "pool_max_conns") {
		cfg.MaxConns = DefaultMaxConns
	}
	return OpenConfig(ctx, cfg, opts...)
}

// OpenConfig is Open for a configuration that pgxpool.ParseConfig has made and
// the caller has adjusted. The configuration stays the caller's.
func OpenConfig(ctx context.Context, cfg *pgxpool.Config, opts ...Option) (*Store, error) {
	if cfg == nil || cfg.ConnConfig == nil {
		return nil, errors.New("state: pgstate.OpenConfig needs a configuration of pgxpool.ParseConfig")
	}
	o := options{schema: DefaultSchema}
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, withDefaults(cfg))
	if err != nil {
		return nil, fmt.Errorf("state: cannot make a connection pool: %w", err)
	}
	s := &Store{pool: pool, schema: o.schema, sql: newStatements(o.schema)}
	s.ending, s.end = context.WithCancel(context.Background())
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// withDefaults returns a copy of cfg with what the store relies on. What the
// user has set stays.
func withDefaults(cfg *pgxpool.Config) *pgxpool.Config {
	cfg = cfg.Copy()
	conn := &cfg.ConnConfig.Config
	if conn.ConnectTimeout <= 0 {
		conn.ConnectTimeout = connectTimeout
	}
	if conn.ValidateConnect == nil {
		conn.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	told := conn.OnNotice
	conn.OnNotice = func(c *pgconn.PgConn, n *pgconn.Notice) {
		noteUnreplicated(c, n)
		if told != nil {
			told(c, n)
		}
	}
	return cfg
}

// Bind implements state.Store. The cluster's ID is a row of the table meta.
func (s *Store) Bind(ctx context.Context, clusterID string) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if clusterID == "" {
		return fmt.Errorf("%w: the cluster ID is empty", state.ErrInvalid)
	}
	var bound []byte
	err = s.send(ctx, func(ctx context.Context, c *pgxpool.Conn) error {
		if _, err := c.Exec(ctx, s.sql.bind, []byte(clusterID)); err != nil {
			return err
		}
		// A second statement, as the first one does not see a row that was
		// inserted beside it.
		return c.QueryRow(ctx, s.sql.bound).Scan(&bound)
	})
	if err != nil {
		return fmt.Errorf("state: the binding to cluster %q %s: %w", clusterID, fate(err), err)
	}
	if string(bound) != clusterID {
		return &state.ClusterError{Bound: string(bound), Asked: clusterID}
	}
	return nil
}

// Close implements state.Store. It cuts off the calls that are under way, which
// then say that their fate is open, and waits for them and for the connections:
// at most 15 seconds, when the server does not answer any more.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.calls.Wait()
	s.pool.Close()
	return nil
}

// enter begins a call, unless the store is closed. The returned context ends
// with ctx and with the store; leave ends the call.
func (s *Store) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, state.ErrClosed
	}
	s.calls.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ending, func() { cancel(errEnding) })
	return ctx, func() {
		stop()
		cancel(nil)
		s.calls.Done()
	}, nil
}
