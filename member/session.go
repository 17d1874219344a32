package member

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cajun-go/cajun/metadata"
)

// Bounds of Config.TTL.
const (
	// DefaultTTL is used when Config says nothing.
	DefaultTTL = 5 * time.Second
	// MinTTL is the least TTL: below it, an ordinary hiccup of the store or of
	// the scheduler would suspend nodes.
	MinTTL = time.Second
)

// marginShare is the part of the TTL that a session gives up before the store
// does: a fifth, so 200 ms at least. It covers what lies between a passed
// Check and the reply on the wire (the scheduler, a collection, the send
// buffer) and the drift between this machine's clock and the store's.
const marginShare = 5

// Renewals are sent every renewShare-th of the TTL, so that three of them fit
// before the deadline; after a failure the next follows after a
// retryShare-th.
const (
	renewShare = 4
	retryShare = 20
)

// Config is what Join needs.
type Config struct {
	Store metadata.Store
	Space metadata.Space
	// Member describes the node. Join fills in the revisions and the lease, and
	// Session unless it is set already to what NewID returned: a node's link
	// speaks in the session's name before the session is a member.
	Member Member
	// TTL is how long the session outlives its last renewal; 0 is DefaultTTL.
	// The store may round it up.
	TTL time.Duration
	// Logger may be nil: then nothing is logged.
	Logger *slog.Logger
	// Clock is SystemClock when nil.
	Clock Clock
}

// Session is one life of a node in the cluster. Its methods are safe for
// concurrent use.
type Session struct {
	store metadata.Store
	space metadata.Space
	clock Clock
	log   *slog.Logger
	lease metadata.Lease
	key   string
	// created is the revision of the member key. A key of another revision is
	// not this session's.
	created int64
	id      string

	standing atomic.Pointer[standing]
	mu       sync.Mutex // transitions of standing

	self atomic.Pointer[Member] // as last written
	// settled says that Close has no lease left to revoke.
	settled atomic.Bool

	wake chan struct{} // asks for a renewal at once
	stop context.CancelFunc
	done chan struct{}
	work sync.WaitGroup
}

// NewID returns a name for a new session: 26 characters of base32, 130 random
// bits.
func NewID() string { return strings.ToLower(rand.Text()) }

// Join makes this node a member: it takes a lease, writes the member key bound
// to it, and keeps the lease alive until Close. ctx bounds the joining only.
// When Join fails, what it may have written ends with the lease.
func Join(ctx context.Context, cfg Config) (*Session, error) {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.TTL < MinTTL {
		return nil, fmt.Errorf("member: the lease TTL %v is too short: use %v or more", cfg.TTL, MinTTL)
	}
	if cfg.Store == nil {
		return nil, errors.New("member: Config.Store is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = SystemClock()
	}
	self := cfg.Member
	if self.Session == "" {
		self.Session = NewID()
	}
	value, err := self.Encode()
	if err != nil {
		return nil, err
	}

	sent := newGrant(cfg.Clock, 0)
	lease, err := cfg.Store.Grant(ctx, cfg.TTL)
	if err != nil {
		return nil, fmt.Errorf("member: cannot get a lease: %w", err)
	}
	sent.allow = lease.TTL - lease.TTL/marginShare
	key := cfg.Space.Member(self.Session)
	res, err := cfg.Store.Commit(ctx, metadata.Txn{
		If:   []metadata.Cond{metadata.Absent(key)},
		Then: []metadata.Op{metadata.Put(key, value, lease.ID)},
	})
	if err == nil && !res.Applied {
		err = errors.New("its key exists already")
	}
	if err != nil {
		// The write may have been applied; nobody would renew its lease.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lease.TTL/renewShare)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("member: cannot write the member key: %w", err), cfg.Store.Revoke(ctx, lease.ID))
	}
	self.Created, self.Modified, self.Lease = res.Revision, res.Revision, lease.ID
	return start(ctx, cfg, self, lease, sent), nil
}

func start(ctx context.Context, cfg Config, self Member, lease metadata.Lease, sent grant) *Session {
	s := &Session{
		store:   cfg.Store,
		space:   cfg.Space,
		clock:   cfg.Clock,
		log:     cfg.Logger.With("session", self.Session),
		lease:   lease,
		key:     cfg.Space.Member(self.Session),
		created: self.Created,
		id:      self.Session,
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	s.self.Store(&self)
	s.standing.Store(&standing{state: State{Phase: Active}, grant: sent, changed: make(chan struct{})})
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.work.Go(func() { s.keepAlive(ctx) })
	s.work.Go(func() { s.guard(ctx) })
	s.work.Go(func() { metadata.Follow(ctx, s.store, s.key, ownKey{s}, s.log) })
	return s
}

// ID is the session's name.
func (s *Session) ID() string { return s.id }

// Lease is what the session's keys are bound to.
func (s *Session) Lease() metadata.LeaseID { return s.lease.ID }

// TTL is how long the store keeps the session after its last renewal.
func (s *Session) TTL() time.Duration { return s.lease.TTL }

// Key is the session's member key.
func (s *Session) Key() string { return s.key }

// Created is the revision at which the member key was created.
func (s *Session) Created() int64 { return s.created }

// Member is the session's own record as last written.
func (s *Session) Member() Member { return *s.self.Load() }

// Present holds in a transaction while this session is a member.
func (s *Session) Present() metadata.Cond { return metadata.CreatedAt(s.key, s.created) }

// Done is closed when the session is lost or closed.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why a session was lost. It is nil while the session lives and after
// Close.
func (s *Session) Err() error {
	if st := s.standing.Load(); st.state.Phase == Lost {
		return st.err
	}
	return nil
}

// Update changes the session's record: change gets a copy of it as the store
// shows it now, and is called again when that was outdated. Its Session,
// revisions and lease stay what they are, and its Kinds must be replaced, not
// altered. An error other than ErrLost and ErrClosed leaves open whether the
// record changed; Update may then be called again.
func (s *Session) Update(ctx context.Context, change func(*Member)) error {
	for {
		if st := s.standing.Load(); st.state.Phase == Lost || st.state.Phase == Closed {
			return st.err
		}
		entry, err := s.readOwnKey(ctx)
		if err != nil {
			return err
		}
		m, err := Decode(s.id, entry)
		if err != nil {
			return err
		}
		change(&m)
		m.Session, m.Created, m.Lease = s.id, s.created, s.lease.ID
		value, err := m.Encode()
		if err != nil {
			return err
		}
		res, err := s.store.Commit(ctx, metadata.Txn{
			If:   []metadata.Cond{metadata.ModifiedAt(s.key, entry.Modified)},
			Then: []metadata.Op{metadata.Put(s.key, value, s.lease.ID)},
		})
		if errors.Is(err, metadata.ErrLeaseGone) {
			s.lose("its lease is gone", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("member: cannot update the member key: %w", err)
		}
		if res.Applied {
			m.Modified = res.Revision
			s.remember(&m)
			return nil
		}
	}
}

// remember keeps m as the own record, unless a later one is known.
func (s *Session) remember(m *Member) {
	for {
		known := s.self.Load()
		if known.Modified >= m.Modified || s.self.CompareAndSwap(known, m) {
			return
		}
	}
}

// readOwnKey reads the member key and loses the session when it is gone.
func (s *Session) readOwnKey(ctx context.Context) (metadata.Entry, error) {
	entry, found, err := s.store.Get(ctx, s.key)
	if err != nil {
		return entry, fmt.Errorf("member: cannot read the member key: %w", err)
	}
	if !found || entry.Created != s.created {
		s.lose(keyDeleted, nil)
		return entry, s.standing.Load().err
	}
	return entry, nil
}

// Close ends the session: Check fails from now on, the lease is revoked and
// the member key goes with it. It waits for everything that the session
// started. When ctx ends first, the lease is left to expire, an error says so,
// and Close may be called again.
func (s *Session) Close(ctx context.Context) error {
	s.end(Closed, ErrClosed)
	s.work.Wait()
	if s.settled.Load() {
		return nil
	}
	if err := s.store.Revoke(ctx, s.lease.ID); err != nil && !errors.Is(err, metadata.ErrClosed) {
		return fmt.Errorf("member: cannot revoke the lease; it ends by itself within %v: %w", s.lease.TTL, err)
	}
	s.settled.Store(true)
	return nil
}

// Abandon stops the session without telling the store, as a crash would: the
// member key stays until its lease expires or somebody buries it. It is for
// tests.
func (s *Session) Abandon() {
	s.settled.Store(true)
	s.end(Closed, ErrClosed)
	s.work.Wait()
}
